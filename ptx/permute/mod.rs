//! Another order of three axes, `y[i, j, k] = x[...]` with the indices in the order of x: how small tensors of parameters
//! become the matrices that a product takes (the factors of FacT, Jie and Deng, AAAI 2023).
//!
//! ```text
//! y = x with axis `order[i]` of x as its axis i      dx = dy in the inverse order
//! ```
//! Only sizes are kept. y and dx have the type of x, f32 or bf16. It is meant for tensors of
//! parameters: a thread of a launched device moves one element, and neighbours in x need not be neighbours in y.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::{on_type, typed};
use call::{OP, Order};

/// `x [a b c]` with its axes in this order.
///
/// # Errors
/// A shape of other than three axes, [`engine::Error::Unsupported`] for numbers that are no order of them, or what the
/// device fails with.
pub fn permute(tape: &Tape, x: &Var, order: [usize; 3]) -> Result<Var> {
    let (order, dtype) = (Order::new(x.shape(), order)?, x.value().dtype());
    let mut y = Tensor::empty_typed(tape.device(), dtype, &order.shape);
    match tape.device().launcher() {
        None => on_type!(dtype, E, cpu::place::<E>(&order, x.value().slice(), y.slice_mut(), false)),
        Some(launcher) => launch::place(launcher, &order, x.value(), &mut y, false)?,
    }
    let settings = || vec![("order", order.axes.map(|axis| axis as f64).to_vec())];
    let function = || -> Box<dyn Function> { Box::new(Permute { order, dtype }) };
    Ok(tape.record_with(OP, settings, &[x], vec![y], function)?.remove(0))
}

struct Permute {
    order: Order,
    /// Type of x.
    dtype: DType,
}

impl Function for Permute {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let dy = typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?;
        let (device, back) = (sinks.device().clone(), self.order.back());
        let Some(mut sink) = sinks.take_typed(0, self.dtype, &back.shape) else { return Ok(()) };
        let (dx, add) = (&mut sink.tensor, sink.accumulate);
        match device.launcher() {
            None => on_type!(self.dtype, E, cpu::place::<E>(&back, dy.slice(), dx.slice_mut(), add)),
            Some(launcher) => launch::place(launcher, &back, &dy, dx, add)?,
        }
        sinks.put(0, sink);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    #[test]
    fn what_is_no_order_is_refused() {
        let tape = Tape::inference(&Device::cpu());
        let run = |shape: &[usize], order| {
            let x = Var::constant(Tensor::zeros(tape.device(), shape));
            permute(&tape, &x, order).map(|y| y.shape().to_vec()).map_err(|e| e.to_string())
        };
        assert_eq!(run(&[2, 5, 3], [2, 0, 1]), Ok(vec![3, 2, 5]));
        assert_eq!(run(&[2, 5, 3], [2, 0, 2]), Err("permute: [2, 0, 2] is no order of three axes".into()));
        assert!(run(&[5, 3], [0, 1, 2]).unwrap_err().contains("x must be [a b c]"));
    }
}
