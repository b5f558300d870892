//! Runs of rows, of which every call is made.

use engine::shape::axes;
use engine::{Error, Result};

pub(super) const OP: &str = "token_rows";

/// `count` rows of `d` values in every sample, taken from one sequence to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub d: usize,
    pub count: usize,
    pub from: End,
    pub to: End,
}

/// One end of a run: its first row in a sequence of `l`.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub l: usize,
    pub first: usize,
}

impl Run {
    /// The run that takes the rows back.
    pub fn reversed(self) -> Self {
        Run { from: self.to, to: self.from, ..self }
    }

    /// The number of samples of `x [b l d]`, and the run that reads rows `first..first + count` of each.
    pub fn window(x: &[usize], first: usize, count: usize) -> Result<(usize, Self)> {
        let [b, l, d] = axes(OP, "x", "[b l d]", x)?;
        if first + count > l {
            let what = format!("rows {first}..{} of a sequence of {l}", first + count);
            return Err(Error::Unsupported { op: OP, what });
        }
        Ok((b, Run { d, count, from: End { l, first }, to: End { l: count, first: 0 } }))
    }
}
