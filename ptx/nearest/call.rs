//! The sizes of a call.

use engine::shape::{axes, check_shape};
use engine::{Error, Result, Tensor};

pub(super) const OP: &str = "nearest";

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    /// Number of prototypes.
    pub m: usize,
    pub d: usize,
}

pub(super) fn check(x: &Tensor, prototypes: &Tensor) -> Result<Dims> {
    let [b, d] = axes(OP, "x", "[b d]", x.shape())?;
    let [m, _] = axes(OP, "prototypes", "[m d]", prototypes.shape())?;
    check_shape(OP, "prototypes", "[m d]", &[m, d], prototypes.shape())?;
    if m == 0 {
        return Err(Error::Unsupported { op: OP, what: "there is no prototype".into() });
    }
    Ok(Dims { b, m, d })
}
