//! The Gaussian error linear unit (Hendrycks and Gimpel, 2016) in its exact form, as the MLP of a ViT has it:
//!
//! ```text
//! y = x F(x),  F(x) = (1 + erf(x / sqrt 2)) / 2      dx = dy (F(x) + x e^(-x^2 / 2) / sqrt(2 pi))
//! ```
//! F is the standard normal distribution function. x has any shape, and y that of x. x is kept for the gradient. x,
//! y and dx have one type, f32 or bf16.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::{on_type, typed};
use call::OP;

/// `x F(x)` for each element of x, by the formula above.
///
/// # Errors
/// What the device fails with.
pub fn gelu(tape: &Tape, x: &Var) -> Result<Var> {
    let dtype = x.value().dtype();
    let mut y = Tensor::empty_typed(tape.device(), dtype, x.shape());
    match tape.device().launcher() {
        None => on_type!(dtype, E, cpu::forward::<E>(x.value().slice(), y.slice_mut())),
        Some(launcher) => launch::forward(launcher, x.value(), &mut y)?,
    }
    let function =
        || -> Box<dyn Function> { Box::new(Gelu { dtype, shape: x.shape().to_vec(), x: x.save() }) };
    Ok(tape.record(OP, &[x], vec![y], function)?.remove(0))
}

struct Gelu {
    /// Type and shape of x.
    dtype: DType,
    shape: Vec<usize>,
    x: Saved,
}

impl Function for Gelu {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (
            typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?,
            sinks.device().clone(),
        );
        let Some(mut sink) = sinks.take_typed(0, self.dtype, &self.shape) else { return Ok(()) };
        let (x, dx, add) = (self.x.get()?, &mut sink.tensor, sink.accumulate);
        match device.launcher() {
            None => on_type!(self.dtype, E, {
                cpu::grad::<E>(x.slice(), dy.slice(), dx.slice_mut(), add);
            }),
            Some(launcher) => launch::grad(launcher, &x, &dy, dx, add)?,
        }
        sinks.put(0, sink);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    /// Far from 0 it is 0 or x itself, its slope at 0 is a half, and NaN stays NaN.
    #[test]
    fn the_ends_are_exact() {
        for device in [Device::cpu_checked(), Device::emulated()] {
            let tape = Tape::new(&device);
            let values = [-1e30, -40.0, 0.0, 40.0, 1e30, f32::NAN];
            let x = tape.leaf(Tensor::from_slice(&device, &values, &[2, 3]));
            let y = gelu(&tape, &x).unwrap();
            let got = y.value().to_host().unwrap();
            assert!(got[0].abs() < 1e-6 && got[1].abs() < 1e-30, "{got:?}");
            assert_eq!(got[2..5], values[2..5]);
            let ones = Tensor::from_slice(&device, &[1.0; 6], &[2, 3]);
            let slopes = tape.backward(&y, ones).unwrap().take(&x).unwrap().to_host().unwrap();
            assert!(slopes[0].abs() < 1e-6 && slopes[1].abs() < 1e-30, "{slopes:?}");
            // The distribution function is off by 2e-7 at most.
            assert!((slopes[2] - 0.5).abs() <= 2e-7, "{slopes:?}");
            assert!((slopes[3] - 1.0).abs() < 1e-6 && (slopes[4] - 1.0).abs() < 1e-6, "{slopes:?}");
            assert!(got[5].is_nan() && slopes[5].is_nan());
        }
    }
}
