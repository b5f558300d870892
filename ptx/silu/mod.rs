//! SiLU: `y = x / (1 + e^-x)`, any shape. Backward: `dx = dy s (1 + x (1 - s))`, `s = sigmoid(x)`; x is kept.

pub mod cases;
mod cpu;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{Result, Tensor};

/// Element-wise SiLU.
pub fn silu(tape: &Tape, x: &Var) -> Result<Var> {
    let mut y = Tensor::empty(tape.device(), x.shape());
    cpu::forward(x.value().as_slice(), y.as_mut_slice());
    Ok(tape.record("silu", &[x], vec![y], || Box::new(Silu(x.save())))?.remove(0))
}

struct Silu(Saved);

impl Function for Silu {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let x = self.0.get()?;
        let mut dy = grads.remove(0).expect("the only output");
        dy.make_unique(sinks.device());
        cpu::backward(x.as_slice(), dy.as_mut_slice());
        sinks.give(0, dy);
        Ok(())
    }
}
