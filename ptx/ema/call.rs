//! What a step of the moving average gets.

use engine::shape::check_shape;
use engine::{Result, Tensor};

pub(super) const OP: &str = "ema";

/// A tensor with its average, f32 and of one shape.
pub struct Slot<'a> {
    /// The average, written in place.
    pub average: &'a mut Tensor,
    /// What it moves towards.
    pub value: &'a Tensor,
}

pub(super) fn check(slots: &[Slot], health: &Tensor) -> Result<()> {
    check_shape(OP, "health", "[3]", &[3], health.shape())?;
    for slot in slots {
        check_shape(OP, "average", "as value", slot.value.shape(), slot.average.shape())?;
    }
    Ok(())
}
