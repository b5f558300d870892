//! What a step of SGD gets.

use engine::shape::check_shape;
use engine::{Result, Tensor};

pub(super) const OP: &str = "sgd";

/// A trained tensor with its gradient and momentum buffer, all of one shape.
pub struct Slot<'a> {
    /// What is trained.
    pub param: &'a mut Tensor,
    /// Its gradient, f32.
    pub grad: &'a Tensor,
    /// The momentum buffer, zero before the first step.
    pub buffer: &'a mut Tensor,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// The settings of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Learning rate.
    pub lr: f64,
    /// What is left of the buffer after a step; 0 is plain gradient descent.
    pub momentum: f64,
    /// Decay of the tensors that decay, added to their gradient as `weight_decay p`.
    pub weight_decay: f64,
}

pub(super) fn check(slots: &[Slot], factors: &Tensor, health: &Tensor) -> Result<()> {
    check_shape(OP, "factors", "[3]", &[3], factors.shape())?;
    check_shape(OP, "health", "[3]", &[3], health.shape())?;
    for slot in slots {
        let shape = slot.param.shape();
        for (name, tensor) in [("grad", slot.grad), ("buffer", &*slot.buffer)] {
            check_shape(OP, name, "as param", shape, tensor.shape())?;
        }
    }
    Ok(())
}
