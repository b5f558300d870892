//! Weights of one or two bits with a mean and a deviation (Bi-Adapter, Jie et al., ICCV 2023).
//!
//! ```text
//! m = mean(w),  s = deviation(w) by n - 1,  t = (w - m) / (s + 1e-5),  y = Q(t) s + m
//! dw: the gradient of this formula with Q'(t) = 1 (straight through)
//! ```
//! Q takes one bit to `±0.6745` and two bits to `±0.3778` and, beyond 0.8217, `±1.2657`: each level is the median of a
//! standard normal variable in its range, as the published code finds them. `Q(0) = 0`, and without any bits `Q(t) = t`. w
//! has any shape of at least 2 elements, and y that of w; both and dw are f32. w is kept for the gradient, with m and s.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::check_type;
use call::{Levels, OP, check};

/// `w` with values of so many bits, by the formula above.
///
/// # Errors
/// [`engine::Error::Unsupported`] for another number of bits than 0, 1 and 2 and for fewer than 2 weights, or what the
/// device fails with.
pub fn quantise(tape: &Tape, w: &Var, bits: usize) -> Result<Var> {
    let levels = Levels::new(bits)?;
    check(w.value().numel())?;
    check_type(OP, "w", w.value(), DType::F32)?;
    let mut y = Tensor::empty(tape.device(), w.shape());
    let mut moments = Tensor::empty(tape.device(), &[2]);
    match tape.device().launcher() {
        None => cpu::forward(levels, w.value().as_slice(), y.as_mut_slice(), moments.as_mut_slice()),
        Some(launcher) => launch::forward(launcher, levels, w.value(), &mut y, &mut moments)?,
    }
    let settings = || vec![("bits", vec![bits as f64])];
    let function = || -> Box<dyn Function> { Box::new(Quantise { levels, w: w.save(), moments }) };
    Ok(tape.record_with(OP, settings, &[w], vec![y], function)?.remove(0))
}

struct Quantise {
    levels: Option<Levels>,
    w: Saved,
    /// Mean and deviation.
    moments: Tensor,
}

impl Function for Quantise {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device, w) =
            (grads.remove(0).expect("the only output"), sinks.device().clone(), self.w.get()?);
        let Some(mut sink) = sinks.take(0, w.shape()) else { return Ok(()) };
        let (dw, add) = (&mut sink.tensor, sink.accumulate);
        match device.launcher() {
            None => {
                let moments = self.moments.as_slice();
                cpu::backward(self.levels, w.as_slice(), dy.as_slice(), moments, dw.as_mut_slice(), add);
            }
            Some(launcher) => launch::backward(launcher, self.levels, [&w, &dy, &self.moments], dw, add)?,
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
    fn there_are_two_levels_or_four() {
        for device in [Device::cpu_checked(), Device::emulated()] {
            let tape = Tape::inference(&device);
            // Mean 0 and deviation 1, up to 1e-5.
            let values: Vec<f32> = [-2.0f32, -1.0, 0.0, 1.0, 2.0].iter().map(|v| v * 0.4f32.sqrt()).collect();
            let w = Var::constant(Tensor::from_slice(&device, &values, &[5]));
            let run = |bits| quantise(&tape, &w, bits).unwrap().value().to_host().unwrap();
            let close = |got: &[f32], want: [f32; 5]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close(&run(1), [-0.67449, -0.67449, 0.0, 0.67449, 0.67449]), "{:?}", run(1));
            assert!(close(&run(2), [-1.26572, -0.37775, 0.0, 0.37775, 1.26572]), "{:?}", run(2));
            for (bits, shape, message) in [
                (3, &[5][..], "3 bits: 1 and 2 are known, 0 is none"),
                (1, &[1], "1 weights have no deviation: at least 2"),
            ] {
                let w = Var::constant(Tensor::zeros(&device, shape));
                let error = quantise(&tape, &w, bits).err().expect("refused").to_string();
                assert!(error.contains(message), "{error}");
            }
        }
    }
}
