//! Rows of token sequences `[b l d]`: `select` one, take a `window`, `join` two around a gap of zero rows.
//!
//! Each is runs of rows added to zeros, and backward adds the same runs the other way; only sizes are kept. On a
//! launched device the result has the type of the first input.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::shape::{axes, check_shape};
use engine::{DType, Device, Error, Result, Tensor};

const OP: &str = "token_rows";

/// `count` rows of `d` values in every sample: from row `from.first` of `from.l` to row `to.first` of `to.l`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    d: usize,
    count: usize,
    from: Place,
    to: Place,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    l: usize,
    first: usize,
}

impl Run {
    fn reversed(self) -> Self {
        Run { from: self.to, to: self.from, ..self }
    }
}

/// Row `row` of every sample: `[b l d]` to `[b d]`. Reads the class token out.
pub fn select(tape: &Tape, x: &Var, row: usize) -> Result<Var> {
    let (b, run) = window_run(x, row, 1)?;
    record(tape, &[x], vec![run], &[b, run.d])
}

/// Rows `first..first + count` of every sample: `[b l d]` to `[b count d]`.
pub fn window(tape: &Tape, x: &Var, first: usize, count: usize) -> Result<Var> {
    let (b, run) = window_run(x, first, count)?;
    record(tape, &[x], vec![run], &[b, count, run.d])
}

/// `a[b m d]`, then `gap` rows of zeros, then `b[b n d]`: `[b m+gap+n d]`.
pub fn join(tape: &Tape, a: &Var, b: &Var, gap: usize) -> Result<Var> {
    let [samples, m, d] = axes(OP, "a", "[b m d]", a.shape())?;
    let [_, n, _] = axes(OP, "b", "[b n d]", b.shape())?;
    check_shape(OP, "b", "[b n d]", &[samples, n, d], b.shape())?;
    let l = m + gap + n;
    let run = |count, first| Run { d, count, from: Place { l: count, first: 0 }, to: Place { l, first } };
    record(tape, &[a, b], vec![run(m, 0), run(n, m + gap)], &[samples, l, d])
}

/// Samples, and the run that reads a window.
fn window_run(x: &Var, first: usize, count: usize) -> Result<(usize, Run)> {
    let [b, l, d] = axes(OP, "x", "[b l d]", x.shape())?;
    if first + count > l {
        let what = format!("rows {first}..{} of a sequence of {l}", first + count);
        return Err(Error::Unsupported { op: OP, what });
    }
    Ok((b, Run { d, count, from: Place { l, first }, to: Place { l: count, first: 0 } }))
}

fn record(tape: &Tape, inputs: &[&Var], runs: Vec<Run>, shape: &[usize]) -> Result<Var> {
    let dtype = inputs[0].value().dtype();
    let values = inputs.iter().map(|x| x.value().cast(dtype)).collect::<Result<Vec<_>>>()?;
    let mut y = Tensor::empty_typed(tape.device(), dtype, shape);
    place(tape.device(), &runs, &values, &mut y)?;
    let dtypes = inputs.iter().map(|x| x.value().dtype()).collect();
    let function = || -> Box<dyn Function> { Box::new(TokenRows { b: shape[0], runs, dtypes }) };
    Ok(tape.record(OP, inputs, vec![y], function)?.remove(0))
}

/// Writes the rows of the runs to `to`, zeros elsewhere.
fn place(device: &Device, runs: &[Run], from: &[Tensor], to: &mut Tensor) -> Result<()> {
    if let Some(launcher) = device.launcher() {
        return launch::place(launcher, runs, from, to);
    }
    to.fill_zero();
    for (run, from) in runs.iter().zip(from) {
        cpu::add(*run, from.as_slice(), to.as_mut_slice());
    }
    Ok(())
}

/// One run an input.
struct TokenRows {
    b: usize,
    runs: Vec<Run>,
    dtypes: Vec<DType>,
}

impl Function for TokenRows {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (grads.remove(0).expect("the only output"), sinks.device().clone());
        for (input, (run, &dtype)) in self.runs.iter().zip(&self.dtypes).enumerate() {
            if let Some(mut sink) = sinks.take_typed(input, dtype, &[self.b, run.from.l, run.d]) {
                let (run, to) = (run.reversed(), &mut sink.tensor);
                let dy = dy.cast(to.dtype())?;
                match (sink.accumulate, device.launcher()) {
                    (false, _) => place(&device, &[run], &[dy], to)?,
                    (true, None) => cpu::add(run, dy.as_slice(), to.as_mut_slice()),
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
