//! AdamW with decoupled decay, in place over a list of tensors, as PyTorch computes it:
//! `p -= lr wd p` where a tensor decays, `m += (1 - b1)(g - m)`, `v = b2 v + (1 - b2) g^2`,
//! `p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)` at step t = 1, 2, ... (Loshchilov, Hutter 2019).
//! With no tensor that decays, or a `weight_decay` of 0, this is Adam (Kingma, Ba 2015).

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::shape::check_shape;
use engine::{Device, Error, Result, Tensor};

use crate::grad_norm::FINITE;

const OP: &str = "adamw";

/// A trained tensor with its gradient and moments, all of one shape.
pub struct Slot<'a> {
    pub param: &'a mut Tensor,
    pub grad: &'a Tensor,
    /// First and second moment, zero before the first step.
    pub m: &'a mut Tensor,
    pub v: &'a mut Tensor,
    /// Whether weight decay applies.
    pub decay: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    pub lr: f64,
    pub betas: [f64; 2],
    pub eps: f64,
    pub weight_decay: f64,
}

impl Default for Settings {
    /// The published recipe's, at its base learning rate.
    fn default() -> Self {
        Settings { lr: 5e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.05 }
    }
}

/// [`Settings`] at step `number`, counted from 1, as the elements need them: `[7]`, sent to the device before each
/// step so that a recorded step stays the same.
pub fn factors(settings: &Settings, number: u64) -> Result<[f32; 7]> {
    if number == 0 {
        return Err(Error::Unsupported { op: OP, what: "steps are counted from 1".into() });
    }
    Ok(cpu::Factors::new(settings, number).to_array())
}

/// One update of every slot with the values of [`factors`], unless `health [3]` says that something was not finite
/// (see [`crate::grad_norm`]). A shared or mapped parameter is copied first.
pub fn step(device: &Device, slots: &mut [Slot], factors: &Tensor, health: &Tensor) -> Result<()> {
    check_shape(OP, "factors", "[7]", &[7], factors.shape())?;
    check_shape(OP, "health", "[3]", &[3], health.shape())?;
    for slot in &mut *slots {
        let shape = slot.param.shape();
        for (name, tensor) in [("grad", slot.grad), ("m", slot.m), ("v", slot.v)] {
            check_shape(OP, name, "as param", shape, tensor.shape())?;
        }
        slot.param.make_unique(device);
    }
    if let Some(launcher) = device.launcher() {
        return launch::step(device, launcher, slots, factors, health);
    }
    if health.as_slice()[FINITE] == 0.0 {
        return Ok(());
    }
    let factors = cpu::Factors::from_slice(factors.as_slice());
    for slot in slots {
        let (m, v) = (slot.m.as_mut_slice(), slot.v.as_mut_slice());
        cpu::step(&factors, slot.decay, slot.param.as_mut_slice(), slot.grad.as_slice(), m, v);
    }
    Ok(())
}
