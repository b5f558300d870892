//! The sizes of one call.

use autograd::Var;
use engine::shape::axes;
use engine::{Error, Result};

pub(super) const OP: &str = "mean_rows";

/// Sizes of a sequence, and the row that is left out; `l` where none is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    pub l: usize,
    pub d: usize,
    pub skip: usize,
}

impl Dims {
    /// The sizes of a call whose shapes are right.
    pub fn new(x: &Var, skip: Option<usize>) -> Result<Self> {
        let [b, l, d] = axes(OP, "x", "[b l d]", x.shape())?;
        let what = match skip {
            Some(skip) if skip >= l || l < 2 => format!("all rows but row {skip} of a sequence of {l}"),
            None if l == 0 => "a sequence without rows".into(),
            _ => return Ok(Dims { b, l, d, skip: skip.unwrap_or(l) }),
        };
        Err(Error::Unsupported { op: OP, what })
    }

    /// What each row weighs in the mean.
    pub fn share(&self) -> f32 {
        1.0 / (self.l - usize::from(self.skip < self.l)) as f32
    }
}
