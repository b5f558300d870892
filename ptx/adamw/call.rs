//! What a step of AdamW gets.

use engine::Tensor;
use engine::shape::check_shape;
use engine::{Error, Result};

pub(super) const OP: &str = "adamw";

/// A trained tensor with its gradient and moments, f32 and all of one shape.
pub struct Slot<'a> {
    /// What is trained, written in place.
    pub param: &'a mut Tensor,
    /// Its gradient.
    pub grad: &'a Tensor,
    /// The first moment, zero before the first step.
    pub m: &'a mut Tensor,
    /// The second moment, zero before the first step.
    pub v: &'a mut Tensor,
    /// Whether weight decay applies to it.
    pub decay: bool,
}

/// The settings of AdamW, in the paper's terms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the first and the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of the parameters, multiplied by the learning rate.
    pub weight_decay: f64,
}

impl Default for Settings {
    /// Those of the published recipe (docs/recipe.md) at its base learning rate.
    fn default() -> Self {
        Settings { lr: 5e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.05 }
    }
}

/// [`Settings`] at one step, as the elements need them. The kernel reads them in the order of the fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factors {
    /// `1 - lr wd`, for tensors that decay.
    pub shrink: f32,
    /// `1 - b1`
    pub new_m: f32,
    /// `b2`
    pub old_v: f32,
    /// `1 - b2`
    pub new_v: f32,
    /// `lr / (1 - b1^t)`
    pub rate: f32,
    /// `1 / sqrt(1 - b2^t)`
    pub correct: f32,
    pub eps: f32,
}

impl Factors {
    /// At step `number`, counted from 1.
    pub fn new(settings: &Settings, number: u64) -> Result<Self> {
        if number == 0 {
            return Err(Error::Unsupported { op: OP, what: "steps are counted from 1".into() });
        }
        let Settings { lr, betas: [b1, b2], eps, weight_decay } = *settings;
        let t = number as f64;
        Ok(Factors {
            shrink: (1.0 - lr * weight_decay) as f32,
            new_m: (1.0 - b1) as f32,
            old_v: b2 as f32,
            new_v: (1.0 - b2) as f32,
            rate: (lr / (1.0 - b1.powf(t))) as f32,
            correct: (1.0 - b2.powf(t)).sqrt().recip() as f32,
            eps: eps as f32,
        })
    }

    pub fn to_array(self) -> [f32; 7] {
        [self.shrink, self.new_m, self.old_v, self.new_v, self.rate, self.correct, self.eps]
    }

    /// From the elements of a tensor `[7]`.
    pub fn from_slice(values: &[f32]) -> Self {
        let [shrink, new_m, old_v, new_v, rate, correct, eps] = values[..] else { panic!("checked: [7]") };
        Factors { shrink, new_m, old_v, new_v, rate, correct, eps }
    }
}

pub(super) fn check(slots: &[Slot], factors: &Tensor, health: &Tensor) -> Result<()> {
    check_shape(OP, "factors", "[7]", &[7], factors.shape())?;
    check_shape(OP, "health", "[3]", &[3], health.shape())?;
    for slot in slots {
        for (name, tensor) in [("grad", slot.grad), ("m", &*slot.m), ("v", &*slot.v)] {
            check_shape(OP, name, "as param", slot.param.shape(), tensor.shape())?;
        }
    }
    Ok(())
}
