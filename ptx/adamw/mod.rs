//! AdamW with decoupled decay, in place over a list of tensors of any shapes, f32 (Loshchilov, Hutter 2019, as PyTorch
//! computes it). At step t = 1, 2, ...:
//!
//! ```text
//! p = (1 - lr wd) p                    where a tensor decays
//! m = m + (1 - b1) (g - m)
//! v = b2 v + (1 - b2) g^2
//! p = p - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//! ```
//! With no tensor that decays, or a `wd` of 0, this is Adam (Kingma, Ba 2015). It has no gradient of its own.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::{Device, Result, Tensor};

pub use call::{Settings, Slot};

use crate::grad_norm::FINITE;
use call::{Factors, check};

/// [`Settings`] at step `number`, as the elements need them: `[7]`. They are sent to the device before each step, so
/// that a recorded step can be replayed.
///
/// # Errors
/// Steps are counted from 1; 0 is [`engine::Error::Unsupported`].
pub fn factors(settings: &Settings, number: u64) -> Result<[f32; 7]> {
    Ok(Factors::new(settings, number)?.to_array())
}

/// Updates every slot with the values of [`factors`] `[7]`, unless `health [3]` says that something was not finite
/// (see [`crate::grad_norm`]). A shared or mapped parameter is copied first.
///
/// # Errors
/// A shape that differs, or what the device fails with.
pub fn step(device: &Device, slots: &mut [Slot], factors: &Tensor, health: &Tensor) -> Result<()> {
    check(slots, factors, health)?;
    slots.iter_mut().for_each(|slot| slot.param.make_unique(device));
    if let Some(launcher) = device.launcher() {
        return launch::step(device, launcher, slots, factors, health);
    }
    if health.as_slice()[FINITE] == 0.0 {
        return Ok(());
    }
    let factors = Factors::from_slice(factors.as_slice());
    for slot in slots {
        let (m, v) = (slot.m.as_mut_slice(), slot.v.as_mut_slice());
        cpu::step(&factors, slot.decay, slot.param.as_mut_slice(), slot.grad.as_slice(), m, v);
    }
    Ok(())
}
