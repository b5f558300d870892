//! Linear: `y[r n] = x[r, c0..c0 + k] w[n k]^T + bias[n]`, over all rows `r` of a row-major `x[.. width]`.
//!
//! The input may be a window of columns, so that a part of a projection feeds the next one without a copy.
//! On a launched device y and dx have the type of x; the bias and the gradients of w and bias are f32.
//! Backward: `dx = dy w`, `dw = dy^T x`, `dbias = sum_r dy`. The input is kept only for a trained weight.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use autograd::{Function, Recipe, Saved, Sinks, Tape, Var};
use engine::shape::check_shape;
use engine::{DType, Device, Result, Tensor};

use crate::launch::typed;
use crate::rows::launch::{self as rows, Rows};

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dims {
    rows: usize,
    /// Columns of x, and the window of them that is read.
    width: usize,
    first: usize,
    k: usize,
    n: usize,
}

/// `x[.., width] w[n k]^T + bias[n]`, over columns `first..first + k` of x. Output `[.., n]`.
pub fn window(tape: &Tape, x: &Var, first: usize, w: &Var, bias: Option<&Var>) -> Result<Var> {
    let dims = check(x, first, w, bias)?;
    let y = forward(tape.device(), dims, x.value(), w.value(), bias.map(Var::value))?;
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let function = || -> Box<dyn Function> {
        Box::new(Linear {
            dims,
            dtype: x.value().dtype(),
            x: w.wants_grad().then(|| x.save()),
            x_shape: x.shape().to_vec(),
            w: x.wants_grad().then(|| w.save()),
        })
    };
    let y = tape.record("linear", &[x, w, bias.unwrap_or(&none)], vec![y], function)?;
    Ok(y.into_iter().next().expect("one output"))
}

/// [`window`] over all columns: `x[.., k] w[n k]^T + bias[n]`.
pub fn linear(tape: &Tape, x: &Var, w: &Var, bias: Option<&Var>) -> Result<Var> {
    window(tape, x, 0, w, bias)
}

/// [`window`] whose output is made again in backward rather than kept by the functions that save it.
pub fn recomputed_window(tape: &Tape, x: &Var, first: usize, w: &Var) -> Result<Var> {
    let dims = check(x, first, w, None)?;
    let y = window(tape, x, first, w, None)?;
    let (device, saved_x, saved_w) = (tape.device().clone(), x.save(), w.save());
    let recipe =
        || Recipe::new(move || Ok(vec![forward(&device, dims, &saved_x.get()?, &saved_w.get()?, None)?]));
    Ok(tape.recomputed(vec![y], recipe).remove(0))
}

fn check(x: &Var, first: usize, w: &Var, bias: Option<&Var>) -> Result<Dims> {
    let width = x.shape().last().copied().unwrap_or(0);
    let [n, k] = w.shape()[..] else {
        return check_shape("linear", "w", "[n k]", &[0, width], w.shape()).map(|()| unreachable!());
    };
    if first + k > width {
        check_shape("linear", "x", "[.. width]", &[first + k], &[width])?;
    }
    if let Some(bias) = bias {
        check_shape("linear", "bias", "[n]", &[n], bias.shape())?;
    }
    Ok(Dims { rows: x.value().numel() / width.max(1), width, first, k, n })
}

fn forward(device: &Device, dims: Dims, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("checked: x has a last axis") = dims.n;
    let mut y = Tensor::empty_typed(device, x.dtype(), &shape);
    match device.launcher() {
        None => cpu::forward(dims, x.as_slice(), w.as_slice(), bias.map(Tensor::as_slice), y.as_mut_slice()),
        Some(launcher) => launch::forward(launcher, dims, x, w, bias, &mut y)?,
    }
    Ok(y)
}

struct Linear {
    dims: Dims,
    dtype: DType,
    x: Option<Saved>,
    x_shape: Vec<usize>,
    w: Option<Saved>,
}

impl Function for Linear {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (d, dy) = (self.dims, typed(grads.remove(0).expect("the only output"), self.dtype)?);
        let device = sinks.device().clone();
        if let Some(mut sink) = sinks.take_columns(0, self.dtype, &self.x_shape, d.first..d.first + d.k) {
            let w = self.w.as_ref().expect("saved for the input's gradient").get()?;
            let (dx, add) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => cpu::grad_x(d, dy.as_slice(), w.as_slice(), dx.as_mut_slice(), add),
                Some(launcher) => launch::grad_x(launcher, d, &dy, &w, dx, add)?,
            }
            sinks.put(0, sink);
        }
        if let Some(mut sink) = sinks.take(1, &[d.n, d.k]) {
            let x = self.x.as_ref().expect("saved for the weight's gradient").get()?;
            let (dw, add) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => cpu::grad_w(d, dy.as_slice(), x.as_slice(), dw.as_mut_slice(), add),
                Some(launcher) => launch::grad_w(launcher, d, &dy, &x, dw, add)?,
            }
            sinks.put(1, sink);
        }
        if let Some(mut sink) = sinks.take(2, &[d.n]) {
            match device.launcher() {
                None => cpu::grad_bias(d, dy.as_slice(), sink.zeroed()),
                Some(_) => rows::sum(&device, Rows::of(&dy, d.n), sink.tensor.region_mut(), sink.accumulate)?,
            }
            sinks.put(2, sink);
        }
        Ok(())
    }
}
