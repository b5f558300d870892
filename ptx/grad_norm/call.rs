//! What a call of the gradient norm gets and writes.

use engine::shape::check_shape;
use engine::{Result, Tensor};

pub(super) const OP: &str = "grad_norm";

/// The element of `health` that is the loss.
pub const LOSS: usize = 0;
/// The element of `health` that is the norm.
pub const NORM: usize = 1;
/// The element of `health` that is 1 while all was finite, else 0.
pub const FINITE: usize = 2;

pub(super) fn check(loss: &Tensor, health: &Tensor) -> Result<()> {
    check_shape(OP, "loss", "[1]", &[1], loss.shape())?;
    check_shape(OP, "health", "[3]", &[3], health.shape())
}
