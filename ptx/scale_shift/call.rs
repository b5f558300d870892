//! What the files of the op share about one call.

use autograd::Var;
use engine::Result;
use engine::shape::check_shape;

pub(super) const OP: &str = "scale_shift";

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const X: usize = 0;
    pub const SCALE: usize = 1;
    pub const SHIFT: usize = 2;
}

/// The channels of `x [.. d]`, once the shapes fit.
pub(super) fn check(x: &Var, scale: &Var, shift: Option<&Var>) -> Result<usize> {
    let d = x.shape().last().copied().unwrap_or(0);
    check_shape(OP, "scale", "[d]", &[d], scale.shape())?;
    if let Some(shift) = shift {
        check_shape(OP, "shift", "[d]", &[d], shift.shape())?;
    }
    Ok(d)
}
