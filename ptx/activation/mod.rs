//! Elementwise functions: the exact GELU (Hendrycks and Gimpel, 2016) of the MLP of a ViT, and those of small modules that
//! methods add, which are ReLU (AdaptFormer, Chen et al., NeurIPS 2022), `x / (1 + e^(-1.702 x))` (NOAH, Zhang et al.,
//! 2022), tanh and the exponential (normalizing flows).
//!
//! ```text
//! y = f(x)      dx = f'(x) dy
//! ```
//! x has any shape, and y that of x. x is kept for the gradient. NaN is taken for 0 by ReLU. x, y and dx have one type, f32
//! or bf16.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

pub use call::Activation;

use crate::launch::{on_type, typed};
use call::OP;

/// `f(x)` for each element of x.
///
/// # Errors
/// What the device fails with.
pub fn activation(tape: &Tape, x: &Var, f: Activation) -> Result<Var> {
    let dtype = x.value().dtype();
    let mut y = Tensor::empty_typed(tape.device(), dtype, x.shape());
    match tape.device().launcher() {
        None => on_type!(dtype, E, cpu::forward::<E>(f, x.value().slice(), y.slice_mut())),
        Some(launcher) => launch::forward(launcher, f, x.value(), &mut y)?,
    }
    let settings = || vec![("function", vec![f.number() as f64])];
    let function =
        || -> Box<dyn Function> { Box::new(Applied { f, dtype, shape: x.shape().to_vec(), x: x.save() }) };
    Ok(tape.record_with(OP, settings, &[x], vec![y], function)?.remove(0))
}

struct Applied {
    f: Activation,
    /// Type and shape of x.
    dtype: DType,
    shape: Vec<usize>,
    x: Saved,
}

impl Function for Applied {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (
            typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?,
            sinks.device().clone(),
        );
        let Some(mut sink) = sinks.take_typed(0, self.dtype, &self.shape) else { return Ok(()) };
        let (x, dx, add) = (self.x.get()?, &mut sink.tensor, sink.accumulate);
        match device.launcher() {
            None => on_type!(self.dtype, E, {
                cpu::grad::<E>(self.f, x.slice(), dy.slice(), dx.slice_mut(), add);
            }),
            Some(launcher) => launch::grad(launcher, self.f, &x, &dy, dx, add)?,
        }
        sinks.put(0, sink);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    /// Values and slopes where the formulas could overflow or cancel.
    #[test]
    fn the_ends_and_the_middle_are_right() {
        for device in [Device::cpu_checked(), Device::emulated()] {
            let run = |f: Activation, values: &[f32]| {
                let tape = Tape::new(&device);
                let x = tape.leaf(Tensor::from_slice(&device, values, &[values.len()]));
                let y = activation(&tape, &x, f).unwrap();
                let ones = Tensor::from_slice(&device, &vec![1.0; values.len()], &[values.len()]);
                let got = y.value().to_host().unwrap();
                (got, tape.backward(&y, ones).unwrap().take(&x).unwrap().to_host().unwrap())
            };
            let ends = [-80.0, -1e-3, 0.0, 1e-3, 80.0];
            let (y, slope) = run(Activation::Relu, &ends);
            assert_eq!(
                (&y[..], &slope[..]),
                (&[0.0, 0.0, 0.0, 1e-3, 80.0][..], &[0.0, 0.0, 0.0, 1.0, 1.0][..])
            );
            let far = [-1e30, -40.0, 0.0, 40.0, 1e30, f32::NAN];
            let (y, slope) = run(Activation::Gelu, &far);
            assert!(y[0].abs() < 1e-6 && y[1].abs() < 1e-30 && y[5].is_nan(), "{y:?}");
            assert_eq!(y[2..5], far[2..5]);
            assert!(slope[0].abs() < 1e-6 && slope[1].abs() < 1e-30 && slope[5].is_nan(), "{slope:?}");
            // The distribution function is off by 2e-7 at most.
            assert!((slope[2] - 0.5).abs() <= 2e-7, "{slope:?}");
            assert!((slope[3] - 1.0).abs() < 1e-6 && (slope[4] - 1.0).abs() < 1e-6, "{slope:?}");
            let (y, slope) = run(Activation::QuickGelu, &ends);
            assert!(y[0].abs() < 1e-30 && y[2] == 0.0 && y[4] == 80.0, "{y:?}");
            assert!(slope[0].abs() < 1e-30 && (slope[2] - 0.5).abs() < 1e-6 && (slope[4] - 1.0).abs() < 1e-6);
            let (y, slope) = run(Activation::Tanh, &ends);
            assert!(y[0] == -1.0 && y[2] == 0.0 && y[4] == 1.0, "{y:?}");
            assert!((y[3] - 1e-3).abs() < 1e-9 && (y[1] + 1e-3).abs() < 1e-9, "{y:?}");
            assert!(slope[0] == 0.0 && slope[2] == 1.0 && slope[4] == 0.0, "{slope:?}");
            let (y, slope) = run(Activation::Exp, &[-200.0, 0.0, 1.0]);
            assert!(y == slope && y[0] < 1e-37 && (y[1] - 1.0).abs() < 1e-6, "{y:?}");
            assert!((y[2] - std::f32::consts::E).abs() < 2e-6, "{y:?}");
        }
    }
}
