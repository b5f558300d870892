//! SiLU: `y = x / (1 + e^-x)`, any shape. Backward: `dx = dy s (1 + x (1 - s))`, `s = sigmoid(x)`; x is kept.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{Result, Tensor};

use crate::launch::typed;

/// Element-wise SiLU.
pub fn silu(tape: &Tape, x: &Var) -> Result<Var> {
    let mut y = Tensor::empty_typed(tape.device(), x.value().dtype(), x.shape());
    match tape.device().launcher() {
        None => cpu::forward(x.value().as_slice(), y.as_mut_slice()),
        Some(launcher) => launch::forward(launcher, x.value(), &mut y)?,
    }
    Ok(tape.record("silu", &[x], vec![y], || Box::new(Silu(x.save())))?.remove(0))
}

struct Silu(Saved);

impl Function for Silu {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let x = self.0.get()?;
        let mut dy = typed(grads.remove(0).expect("the only output"), x.dtype())?;
        dy.make_unique(sinks.device());
        match sinks.device().launcher() {
            None => cpu::backward(x.as_slice(), dy.as_mut_slice()),
            Some(launcher) => launch::backward(launcher, &x, &mut dy)?,
        }
        sinks.give(0, dy);
        Ok(())
    }
}
