//! The norm of all gradients together, `norm = sqrt(sum_i |g_i|^2)` over a list of f32 tensors of any shapes, and
//! whether a training step is healthy. It has no gradient of its own.
//!
//! `health [3]` is the loss, the norm, and whether both were finite so far. It stays on the device: the optimizer reads
//! there whether it may step, and nobody waits for it.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::{Device, Result, Tensor};

pub use call::{FINITE, LOSS, NORM};

use call::check;

/// The `health [3]` before any step: all is finite.
pub fn healthy(device: &Device) -> Tensor {
    Tensor::from_slice(device, &[0.0, 0.0, 1.0], &[3])
}

/// Writes the loss `[1]` and the norm of the gradients into `health [3]`. Its last element stays 1 while both are
/// finite, and is 0 from the first call on in which one is not. On a launched device squares are summed in f32, and a
/// norm above 1.8e19 counts as not finite.
///
/// # Errors
/// A shape that differs, or what the device fails with.
pub fn grad_norm(device: &Device, loss: &Tensor, grads: &[&Tensor], health: &mut Tensor) -> Result<()> {
    check(loss, health)?;
    if let Some(launcher) = device.launcher() {
        return launch::grad_norm(device, launcher, loss, grads, health);
    }
    let (loss, norm) = (loss.as_slice()[0], cpu::squares(grads).sqrt() as f32);
    let health = health.as_mut_slice();
    let finite = health[FINITE] != 0.0 && loss.is_finite() && norm.is_finite();
    health.copy_from_slice(&[loss, norm, f32::from(u8::from(finite))]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_remembered() {
        for device in [Device::cpu(), Device::emulated()] {
            let tensor = |values: &[f32]| Tensor::from_slice(&device, values, &[values.len()]);
            let good = tensor(&[3.0, 0.0, -4.0]);
            let mut health = healthy(&device);
            let mut finite = |loss: f32, grad: &Tensor| {
                grad_norm(&device, &tensor(&[loss]), &[&good, grad], &mut health).unwrap();
                health.to_host().unwrap()[FINITE]
            };
            assert_eq!(finite(1.0, &tensor(&[12.0])), 1.0);
            assert_eq!(finite(1.0, &tensor(&[0.0, f32::NAN])), 0.0, "a gradient");
            assert_eq!(finite(1.0, &tensor(&[12.0])), 0.0, "for good");
            assert_eq!(health.to_host().unwrap()[..2], [1.0, 13.0]);
            for loss in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut health = healthy(&device);
                grad_norm(&device, &tensor(&[loss]), &[&good], &mut health).unwrap();
                assert_eq!(health.to_host().unwrap()[FINITE], 0.0, "loss {loss}");
            }
        }
    }
}
