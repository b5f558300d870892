//! The norm of all gradients together, `sqrt(sum_i |g_i|^2)` over a list of tensors of any shapes, and whether a
//! training step is healthy.
//!
//! Nothing waits for the device: the optimizer reads there whether it may step, people read it later.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::shape::check_shape;
use engine::{Device, Result, Tensor};

const OP: &str = "grad_norm";

/// Elements of `health`: the loss, the norm, and whether all was finite so far.
pub const LOSS: usize = 0;
pub const NORM: usize = 1;
pub const FINITE: usize = 2;

/// A healthy state, before any step.
pub fn healthy(device: &Device) -> Tensor {
    Tensor::from_slice(device, &[0.0, 0.0, 1.0], &[3])
}

/// Writes the loss `[1]` and the norm into `health [3]`; its last element stays 1 while both are finite, and is 0
/// from the first call on in which one is not. Squares are summed in f32 on a launched device: a norm above
/// 1.8e19 counts as not finite there.
pub fn grad_norm(device: &Device, loss: &Tensor, grads: &[&Tensor], health: &mut Tensor) -> Result<()> {
    check_shape(OP, "loss", "[1]", &[1], loss.shape())?;
    check_shape(OP, "health", "[3]", &[3], health.shape())?;
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
