//! Batch normalization without a scale and a shift (Ioffe and Szegedy, 2015), as the head of AdaptFormer has it.
//!
//! ```text
//! y[i, c] = (x[i, c] - m[c]) r[c],  r = 1 / sqrt(v + 1e-6)
//! m, v: mean and variance by b of the batch's rows, or given ones
//! dx = r (dy - mean_i(dy) - y mean_i(dy y)) for the batch's own, r dy for given ones
//! ```
//! `x [b d]` and all else are f32. [`batch_norm`] also returns the batch's mean and its variance by `b - 1`, towards which
//! running values move; no gradient goes through them. y and r are kept for the gradient of the batch's own, and r alone
//! for that of given ones.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::check_type;
use call::{Dims, OP, check};

/// `x [b d]` normalised by the mean and variance of its rows: `y [b d]`, the mean `[d]`, and the variance by `b - 1` `[d]`.
///
/// # Errors
/// A shape of other than two axes, [`engine::Error::Unsupported`] for a single row, or what the device fails with.
pub fn batch_norm(tape: &Tape, x: &Var) -> Result<(Var, [Tensor; 2])> {
    let device = tape.device();
    let d = check(x, None)?.d;
    let mut moments = [Tensor::empty(device, &[d]), Tensor::empty(device, &[d])];
    let y = run(tape, x, Moments::Own(&mut moments))?;
    Ok((y, moments))
}

/// `x [b d]` normalised by this mean and variance `[d]`, which get no gradient.
///
/// # Errors
/// A shape that differs, or what the device fails with.
pub fn normalised_by(tape: &Tape, x: &Var, mean: &Var, variance: &Var) -> Result<Var> {
    run(tape, x, Moments::Given([mean, variance]))
}

/// Where mean and variance come from.
enum Moments<'a> {
    /// The batch's rows; they are written here.
    Own(&'a mut [Tensor; 2]),
    Given([&'a Var; 2]),
}

fn run(tape: &Tape, x: &Var, moments: Moments) -> Result<Var> {
    let given = match &moments {
        Moments::Own(_) => None,
        Moments::Given(given) => Some(*given),
    };
    let (dims, device) = (check(x, given)?, tape.device());
    check_type(OP, "x", x.value(), DType::F32)?;
    let mut y = Tensor::empty(device, x.shape());
    let mut inverse = Tensor::empty(device, &[dims.d]);
    let mut own = None;
    match moments {
        Moments::Own(moments) => own = Some(moments),
        Moments::Given(_) => {}
    }
    let values = given.map(|moments| moments.map(Var::value));
    match device.launcher() {
        None => cpu::forward(dims, x.value(), values, own, &mut y, &mut inverse),
        Some(launcher) => launch::forward(launcher, dims, x.value(), values, own, &mut y, &mut inverse)?,
    }
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let [mean, variance] = given.unwrap_or([&none, &none]);
    let kept = given.is_none().then(|| y.clone());
    let function = || -> Box<dyn Function> { Box::new(BatchNorm { dims, y: kept, inverse }) };
    Ok(tape.record(OP, &[x, mean, variance], vec![y], function)?.remove(0))
}

struct BatchNorm {
    dims: Dims,
    /// The output, for the gradient through the batch's own mean and variance.
    y: Option<Tensor>,
    inverse: Tensor,
}

impl Function for BatchNorm {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dims, dy) = (self.dims, grads.remove(0).expect("the only output"));
        let device = sinks.device().clone();
        let Some(mut sink) = sinks.take(0, &[dims.b, dims.d]) else { return Ok(()) };
        let (dx, add) = (&mut sink.tensor, sink.accumulate);
        match device.launcher() {
            None => cpu::backward(dims, &dy, self.y.as_ref(), &self.inverse, dx, add),
            Some(launcher) => launch::backward(launcher, dims, &dy, self.y.as_ref(), &self.inverse, dx, add)?,
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
    fn moments_of_a_batch_are_given_out_and_misfits_refused() {
        for device in [Device::cpu_checked(), Device::emulated()] {
            let tape = Tape::inference(&device);
            let tensor =
                |values: &[f32], shape: &[usize]| Var::constant(Tensor::from_slice(&device, values, shape));
            let x = tensor(&[1.0, 10.0, 3.0, 10.0], &[2, 2]);
            let (y, moments) = batch_norm(&tape, &x).unwrap();
            let y = y.value().to_host().unwrap();
            assert!((y[0] + 1.0).abs() < 1e-5 && (y[2] - 1.0).abs() < 1e-5 && y[1] == 0.0, "{y:?}");
            assert_eq!(moments.map(|moment| moment.to_host().unwrap()), [[2.0, 10.0], [2.0, 0.0]]);
            let error = batch_norm(&tape, &tensor(&[1.0, 2.0], &[1, 2])).err().expect("refused").to_string();
            assert!(error.contains("at least 2 images a batch in training"), "{error}");
            let (mean, variance) = (tensor(&[1.0, 2.0], &[2]), tensor(&[1.0], &[1]));
            let error = normalised_by(&tape, &x, &mean, &variance).err().expect("refused").to_string();
            assert!(error.contains("variance must be [d] = [2], got [1]"), "{error}");
        }
    }
}
