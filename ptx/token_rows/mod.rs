//! Rows of token sequences `[b l d]`: `select` takes one, `window` several in a row, and `join` puts two sequences
//! around a gap of zero rows.
//!
//! Each call adds runs of rows to zeros, and its backward pass adds the same runs the other way; only sizes are kept.
//! The result has the type of the first input.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::shape::{axes, check_shape};
use engine::{DType, Device, Result, Tensor};

use crate::launch::on_type;
use call::{End, OP, Run};

/// Row `row` of every sample of `x [b l d]`, `[b d]`. Reads the class token out.
///
/// # Errors
/// A shape of other than three axes, [`engine::Error::Unsupported`] for a row beyond the last, or what the device fails
/// with.
pub fn select(tape: &Tape, x: &Var, row: usize) -> Result<Var> {
    let (b, run) = Run::window(x.shape(), row, 1)?;
    record(tape, &[x], vec![run], &[b, run.d])
}

/// Rows `first..first + count` of every sample of `x [b l d]`, `[b count d]`.
///
/// # Errors
/// Those of [`select`].
pub fn window(tape: &Tape, x: &Var, first: usize, count: usize) -> Result<Var> {
    let (b, run) = Run::window(x.shape(), first, count)?;
    record(tape, &[x], vec![run], &[b, count, run.d])
}

/// The rows of `a [b m d]`, then `gap` rows of zeros, then those of `b [b n d]`, in every sample: `[b m+gap+n d]`.
///
/// # Errors
/// A shape that differs, or what the device fails with.
pub fn join(tape: &Tape, a: &Var, b: &Var, gap: usize) -> Result<Var> {
    let [samples, m, d] = axes(OP, "a", "[b m d]", a.shape())?;
    let [_, n, _] = axes(OP, "b", "[b n d]", b.shape())?;
    check_shape(OP, "b", "[b n d]", &[samples, n, d], b.shape())?;
    let l = m + gap + n;
    let run = |count, first| Run { d, count, from: End { l: count, first: 0 }, to: End { l, first } };
    record(tape, &[a, b], vec![run(m, 0), run(n, m + gap)], &[samples, l, d])
}

fn record(tape: &Tape, inputs: &[&Var], runs: Vec<Run>, shape: &[usize]) -> Result<Var> {
    let dtype = inputs[0].value().dtype();
    let values = inputs.iter().map(|x| x.value().cast(tape.device(), dtype)).collect::<Result<Vec<_>>>()?;
    let mut y = Tensor::empty_typed(tape.device(), dtype, shape);
    place(tape.device(), &runs, &values, &mut y)?;
    let dtypes = inputs.iter().map(|x| x.value().dtype()).collect();
    // Where a window begins in x, or the second sequence of a join in y.
    let first = match &runs[..] {
        [window] => window.from.first,
        joined => joined[1].to.first,
    };
    let settings = || vec![("first", vec![first as f64])];
    let function = || -> Box<dyn Function> { Box::new(TokenRows { b: shape[0], runs, dtypes }) };
    Ok(tape.record_with(OP, settings, inputs, vec![y], function)?.remove(0))
}

/// Writes the rows of the runs to `to`, zeros elsewhere.
fn place(device: &Device, runs: &[Run], from: &[Tensor], to: &mut Tensor) -> Result<()> {
    if let Some(launcher) = device.launcher() {
        return launch::place(launcher, runs, from, to);
    }
    to.fill_zero();
    for (run, from) in runs.iter().zip(from) {
        on_type!(to.dtype(), E, cpu::add::<E>(*run, from.slice(), to.slice_mut()));
    }
    Ok(())
}

/// Each input has one run.
struct TokenRows {
    /// Samples.
    b: usize,
    runs: Vec<Run>,
    /// Types of the inputs.
    dtypes: Vec<DType>,
}

impl Function for TokenRows {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (grads.remove(0).expect("the only output"), sinks.device().clone());
        for (input, (run, &dtype)) in self.runs.iter().zip(&self.dtypes).enumerate() {
            if let Some(mut sink) = sinks.take_typed(input, dtype, &[self.b, run.from.l, run.d]) {
                let (run, to) = (run.reversed(), &mut sink.tensor);
                let dy = dy.cast(sinks.device(), to.dtype())?;
                match (sink.accumulate, device.launcher()) {
                    (false, _) => place(&device, &[run], &[dy], to)?,
                    (true, None) => on_type!(to.dtype(), E, cpu::add::<E>(run, dy.slice(), to.slice_mut())),
                    (true, Some(launcher)) => launch::add(launcher, run, &dy, to)?,
                }
                sinks.put(input, sink);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_beyond_the_end_are_refused() {
        let tape = Tape::inference(&Device::cpu());
        let x = Var::constant(Tensor::zeros(tape.device(), &[2, 5, 3]));
        assert!(select(&tape, &x, 4).is_ok() && window(&tape, &x, 0, 5).is_ok());
        let err = select(&tape, &x, 5).err().unwrap().to_string();
        assert_eq!(err, "token_rows: rows 5..6 of a sequence of 5");
        let y = Var::constant(Tensor::zeros(tape.device(), &[2, 5, 4]));
        let err = join(&tape, &x, &y, 1).err().unwrap().to_string();
        assert!(err.contains("b must be [b n d] = [2, 5, 3], got [2, 5, 4]"), "{err}");
    }
}
