//! SimAM on an image, per sample and channel over its `n = h w` pixels:
//! `q = (x - mean x)^2`, `e = q / (4 (sum q / (n - 1) + 1e-3)) + 1/2`, `y = x sigmoid(e)`, all `[b c h w]`.
//!
//! No parameters. Yang et al., ICML 2021, as the published SVP code applies it to its normalised input.
//! Backward, with `s = sigmoid(e)`, `w = sum q / (n - 1) + 1e-3`, `g = dy x s (1 - s) / (4 w)`:
//! `dq = g - sum(g q) / (w (n - 1))`, `dx = dy s + 2 (x - mean) dq - mean(2 (x - mean) dq)`. x is kept.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::shape::axes;
use engine::{Error, Result, Tensor};

use crate::launch::typed;

const OP: &str = "simam";

/// Weighs every pixel of `x[b c h w]` by how much it stands out of its channel.
pub fn simam(tape: &Tape, x: &Var) -> Result<Var> {
    let [_, _, h, w] = axes(OP, "x", "[b c h w]", x.shape())?;
    if h * w < 2 {
        let what = format!("an image of {h} x {w} pixels has no variance");
        return Err(Error::Unsupported { op: OP, what });
    }
    let mut y = Tensor::empty_typed(tape.device(), x.value().dtype(), x.shape());
    match tape.device().launcher() {
        None => cpu::forward(h * w, x.value().as_slice(), y.as_mut_slice()),
        Some(launcher) => launch::forward(launcher, h * w, x.value(), &mut y)?,
    }
    let function = || -> Box<dyn Function> { Box::new(SimAm { pixels: h * w, x: x.save() }) };
    Ok(tape.record(OP, &[x], vec![y], function)?.remove(0))
}

struct SimAm {
    pixels: usize,
    x: Saved,
}

impl Function for SimAm {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let x = self.x.get()?;
        let mut dy = typed(grads.remove(0).expect("the only output"), x.dtype())?;
        dy.make_unique(sinks.device());
        match sinks.device().launcher() {
            None => cpu::backward(self.pixels, x.as_slice(), dy.as_mut_slice()),
            Some(launcher) => launch::backward(launcher, self.pixels, &x, &mut dy)?,
        }
        sinks.give(0, dy);
        Ok(())
    }
}
