//! The norm of all gradients together, `sqrt(sum_i |g_i|^2)` over a list of tensors of any shapes.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::{Device, Result, Tensor};

const OP: &str = "grad_norm";

/// Waits for the device: the norm is for people and for clipping, not for the next kernel.
pub fn grad_norm(device: &Device, grads: &[&Tensor]) -> Result<f32> {
    let squares = match device.launcher() {
        None => cpu::squares(grads),
        Some(launcher) => launch::squares(device, launcher, grads)?,
    };
    Ok(squares.sqrt() as f32)
}
