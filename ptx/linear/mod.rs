//! Linear: `y[r n] = x[r, c0..c0 + k] w[n k]^T + bias[n]`, over all rows `r` of a row-major `x [.. width]`.
//!
//! The input may be a window of columns, so that a part of one projection feeds the next without a copy. Backward:
//! `dx = dy w`, `dw = dy^T x`, `dbias = sum_r dy`. x is kept only for a trained weight, and w only where x wants a
//! gradient. On a launched device y and dx have the type of x; the bias and the gradients of w and bias are f32.
//!
//! [`added`] is the product added to what is there, `y[r n] = y0[r n] + x[r k] w[n k]^T + bias[n]`, with `dy0 = dy`.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Recipe, Saved, Sinks, Tape, Var};
use engine::shape::check_shape;
use engine::{DType, Device, Result, Tensor};

use crate::launch::{check_type, on_type, typed};
use crate::rows::launch::{self as rows, Rows};
use call::{Dims, OP, check};

/// Positions of the inputs in a recorded call.
mod at {
    pub const X: usize = 0;
    pub const W: usize = 1;
    pub const BIAS: usize = 2;
    pub const BASE: usize = 3;
}

/// `[.. n]`: `x [.. width]` over its columns `first..first + k`, times `w [n k]` transposed, plus `bias [n]`.
///
/// # Errors
/// A shape that differs, a window beyond the last column, or what the device fails with.
pub fn window(tape: &Tape, x: &Var, first: usize, w: &Var, bias: Option<&Var>) -> Result<Var> {
    let dims = check(x, first, w, bias)?;
    let y = forward(tape.device(), dims, x.value(), w.value(), bias.map(Var::value))?;
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    record(tape, dims, [x, w, bias.unwrap_or(&none), &none], y)
}

/// `y [.. n]` plus `x [.. k]` times `w [n k]` transposed, plus `bias [n]`, as a low-rank update adds to a frozen product and
/// an adapter to a branch. The sum takes the memory of y unless somebody else holds it.
///
/// # Errors
/// A shape or type that differs, or what the device fails with.
pub fn added(tape: &Tape, mut y: Var, x: &Var, w: &Var, bias: Option<&Var>) -> Result<Var> {
    let dims = check(x, 0, w, bias)?;
    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("checked: x has a last axis") = dims.n;
    check_shape(OP, "y", "[.. n]", &shape, y.shape())?;
    check_type(OP, "y", y.value(), x.value().dtype())?;
    let (device, mut sum, bias_value) = (tape.device(), y.take(), bias.map(Var::value));
    sum.make_unique(device);
    let (x_value, w_value) = (x.value(), w.value().cast(device, x.value().dtype())?);
    match device.launcher() {
        None => on_type!(x_value.dtype(), E, {
            let bias = bias_value.map(Tensor::as_slice);
            cpu::add::<E>(dims, x_value.slice(), w_value.slice(), bias, sum.slice_mut());
        }),
        Some(launcher) => launch::add(launcher, dims, x_value, &w_value, bias_value, &mut sum)?,
    }
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    record(tape, dims, [x, w, bias.unwrap_or(&none), &y], sum)
}

/// Records a call with x, w, bias and the variable that was added to.
fn record(tape: &Tape, dims: Dims, inputs: [&Var; 4], y: Tensor) -> Result<Var> {
    let [x, w, ..] = inputs;
    let function = || -> Box<dyn Function> {
        Box::new(Linear {
            dims,
            dtype: x.value().dtype(),
            x: w.wants_grad().then(|| x.save()),
            x_shape: x.shape().to_vec(),
            w: x.wants_grad().then(|| w.save()),
        })
    };
    let settings = || vec![("first", vec![dims.first as f64])];
    Ok(tape.record_with(OP, settings, &inputs, vec![y], function)?.remove(0))
}

/// [`window`] over all columns: `x [.. k]` times `w [n k]` transposed, plus `bias [n]`.
///
/// # Errors
/// Those of [`window`].
pub fn linear(tape: &Tape, x: &Var, w: &Var, bias: Option<&Var>) -> Result<Var> {
    window(tape, x, 0, w, bias)
}

/// [`window`] without a bias, whose output is computed again in backward instead of kept by the functions that save it.
///
/// # Errors
/// Those of [`window`].
pub fn recomputed_window(tape: &Tape, x: &Var, first: usize, w: &Var) -> Result<Var> {
    let dims = check(x, first, w, None)?;
    let y = window(tape, x, first, w, None)?;
    let (device, saved_x, saved_w) = (tape.device().clone(), x.save(), w.save());
    let recipe =
        || Recipe::new(move || Ok(vec![forward(&device, dims, &saved_x.get()?, &saved_w.get()?, None)?]));
    Ok(tape.recomputed(vec![y], recipe).remove(0))
}

fn forward(device: &Device, dims: Dims, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("checked: x has a last axis") = dims.n;
    let mut y = Tensor::empty_typed(device, x.dtype(), &shape);
    let w = w.cast(device, x.dtype())?;
    match device.launcher() {
        None => on_type!(x.dtype(), E, {
            let bias = bias.map(Tensor::as_slice);
            cpu::forward::<E>(dims, x.slice(), w.slice(), bias, y.slice_mut());
        }),
        Some(launcher) => launch::forward(launcher, dims, x, &w, bias, &mut y)?,
    }
    Ok(y)
}

struct Linear {
    dims: Dims,
    /// Type of x.
    dtype: DType,
    /// For the gradient of the weight.
    x: Option<Saved>,
    x_shape: Vec<usize>,
    /// For the gradient of x.
    w: Option<Saved>,
}

impl Function for Linear {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (d, dy) =
            (self.dims, typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?);
        let device = sinks.device().clone();
        if let Some(mut sink) = sinks.take_columns(at::X, self.dtype, &self.x_shape, d.first..d.first + d.k) {
            let w = self.w.as_ref().expect("saved for the input's gradient").get()?;
            let w = w.cast(&device, self.dtype)?;
            let (dx, add) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => on_type!(self.dtype, E, {
                    cpu::grad_x::<E>(d, dy.slice(), w.slice(), dx.slice_mut(), add);
                }),
                Some(launcher) => launch::grad_x(launcher, d, &dy, &w, dx, add)?,
            }
            sinks.put(at::X, sink);
        }
        if let Some(mut sink) = sinks.take(at::W, &[d.n, d.k]) {
            let x = self.x.as_ref().expect("saved for the weight's gradient").get()?;
            let (dw, add) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => on_type!(self.dtype, E, {
                    cpu::grad_w::<E>(d, dy.slice(), x.slice(), dw.as_mut_slice(), add);
                }),
                Some(launcher) => launch::grad_w(launcher, d, &dy, &x, dw, add)?,
            }
            sinks.put(at::W, sink);
        }
        if let Some(mut sink) = sinks.take(at::BIAS, &[d.n]) {
            match device.launcher() {
                None => on_type!(self.dtype, E, cpu::grad_bias::<E>(d, dy.slice(), sink.zeroed())),
                Some(_) => rows::sum(&device, Rows::of(&dy, d.n), sink.tensor.region_mut(), sink.accumulate)?,
            }
            sinks.put(at::BIAS, sink);
        }
        if sinks.wants(at::BASE) {
            sinks.give(at::BASE, dy);
        }
        Ok(())
    }
}
