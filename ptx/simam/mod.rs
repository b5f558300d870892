//! SimAM on images `x [b c h w]`, per sample and channel over its `n = h w` pixels (Yang et al., ICML 2021, as the
//! published SVP code applies it to its normalised input). It has no parameters.
//!
//! ```text
//! q = (x - mean x)^2      w = sum q / (n - 1) + 1e-3      e = q / 4w + 1/2      y = x sigmoid(e)
//! ```
//! Backward, with `s = sigmoid(e)` and `g = dy x s (1 - s) / 4w`:
//! `dq = g - sum(g q) / (w (n - 1))`, `dx = dy s + 2 (x - mean) dq - mean(2 (x - mean) dq)`. x is kept. x, y
//! and dx have one type, f32 or bf16.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{Result, Tensor};

use crate::launch::{on_type, typed};
use call::{OP, check};

/// Weighs every pixel of `x [b c h w]` by how much it stands out of its channel. The output has the shape of x.
///
/// # Errors
/// A shape of other than four axes, [`engine::Error::Unsupported`] for images of one pixel, or what the device fails
/// with.
pub fn simam(tape: &Tape, x: &Var) -> Result<Var> {
    let pixels = check(x.shape())?;
    let mut y = Tensor::empty_typed(tape.device(), x.value().dtype(), x.shape());
    match tape.device().launcher() {
        None => on_type!(y.dtype(), E, cpu::forward::<E>(pixels, x.value().slice(), y.slice_mut())),
        Some(launcher) => launch::forward(launcher, pixels, x.value(), &mut y)?,
    }
    let function = || -> Box<dyn Function> { Box::new(SimAm { pixels, x: x.save() }) };
    Ok(tape.record(OP, &[x], vec![y], function)?.remove(0))
}

struct SimAm {
    pixels: usize,
    x: Saved,
}

impl Function for SimAm {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let x = self.x.get()?;
        let mut dy = typed(sinks.device(), grads.remove(0).expect("the only output"), x.dtype())?;
        dy.make_unique(sinks.device());
        match sinks.device().launcher() {
            None => on_type!(x.dtype(), E, cpu::backward::<E>(self.pixels, x.slice(), dy.slice_mut())),
            Some(launcher) => launch::backward(launcher, self.pixels, &x, &mut dy)?,
        }
        sinks.give(0, dy);
        Ok(())
    }
}
