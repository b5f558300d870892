//! Layer normalisation (Ba et al., 2016) of the rows of a tensor, also of a sum: the entry of both halves of a ViT's
//! block (Dosovitskiy et al., ICLR 2021), whose residual add is fused here.
//!
//! ```text
//! r   = residual_in + keep[b] h                           keep is drop path's: 0, or 1 / (1 - p)
//! n   = (r - mean_d r) s,  s = 1 / sqrt(mean_d (r - mean_d r)^2 + eps)
//! out = weight n + bias
//! dr  = s (g - mean_d g - n mean_d (g n)) with g = weight dout, plus what arrives at r;  dh = keep dr
//! dweight = sum_rows dout n      dbias = sum_rows dout
//! ```
//! [`layer_norm`] takes `x [.. d]` for r. [`add_layer_norm`] takes `h` and `residual_in`, both `[b l d]`, and `keep [rows
//! b]`, of which one row is used; its outputs are r and out. `weight` and `bias` are `[d]`. Of h and the incoming residual
//! only r is kept, and backward computes n again from it; a call whose bias alone is trained keeps nothing. On a launched
//! device h or x, out and their gradients have one type, f32 or bf16; all else is f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;
#[cfg(test)]
mod tests;

use autograd::{Function, Saved, Sink, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

pub use call::Norm;

use crate::launch::typed;
use crate::prompt_add_norm::Keep;
use call::{Call, OP, at};

/// The norm of each row of `x [.. d]`, in the shape and type of x.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] for a width that the kernels do not take, or what the device fails
/// with.
pub fn layer_norm(tape: &Tape, x: &Var, norm: Norm) -> Result<Var> {
    let call = Call::alone(x, norm)?;
    Ok(run(tape, call, x, None, norm)?.remove(0))
}

/// `[r, out]`, both `[b l d]`, by the formula above: the sum of `residual` and `h`, and its norm. Without a `residual` it is
/// that of zeros.
///
/// # Errors
/// Those of [`layer_norm`].
pub fn add_layer_norm(
    tape: &Tape,
    h: &Var,
    residual: Option<&Var>,
    norm: Norm,
    keep: Option<Keep>,
) -> Result<[Var; 2]> {
    let call = Call::adding(h, residual, norm, keep)?;
    let mut outputs = run(tape, call, h, residual, norm)?.into_iter();
    Ok([outputs.next().expect("two outputs"), outputs.next().expect("two outputs")])
}

/// The outputs of a call: the sum where it adds, then the norm.
fn run(tape: &Tape, call: Call, x: &Var, residual: Option<&Var>, norm: Norm) -> Result<Vec<Var>> {
    let device = tape.device();
    let mut sum = call.computes_sum().then(|| Tensor::empty(device, &call.shape));
    let mut out = Tensor::empty_typed(device, call.dtype, &call.shape);
    let parameters = [norm.weight.value(), norm.bias.value()];
    let residual_value = residual.map(Var::value);
    match device.launcher() {
        None => cpu::forward(&call, x.value(), residual_value, parameters, sum.as_mut(), &mut out),
        Some(launcher) => {
            launch::forward(launcher, &call, x.value(), residual_value, parameters, sum.as_mut(), &mut out)?;
        }
    }
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let vars = [x, norm.weight, norm.bias, residual.unwrap_or(&none)];
    let through = x.wants_grad() || residual.is_some_and(Var::wants_grad);
    let kept = (through || norm.weight.wants_grad())
        .then(|| sum.as_ref().map_or_else(|| x.save(), |sum| Saved::Value(sum.clone())));
    let mut outputs = vec![];
    if call.adds {
        outputs.push(sum.unwrap_or_else(|| x.value().clone()));
    }
    outputs.push(out);
    let adds = call.adds;
    let settings = || vec![("eps", vec![f64::from(norm.eps)]), ("adds", vec![f64::from(u8::from(adds))])];
    let function = || -> Box<dyn Function> {
        Box::new(LayerNorm { call, sum: kept, weight: through.then(|| norm.weight.save()) })
    };
    tape.record_with(OP, settings, &vars, outputs, function)
}

struct LayerNorm {
    call: Call,
    /// What was normalised, for the gradients of all but the bias.
    sum: Option<Saved>,
    /// For the gradients of h and of the residual.
    weight: Option<Saved>,
}

impl Function for LayerNorm {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let dout = grads
            .pop()
            .expect("the last output")
            .map(|dout| typed(sinks.device(), dout, self.call.dtype))
            .transpose()?;
        let dsum = grads.pop().flatten().map(|dsum| typed(sinks.device(), dsum, DType::F32)).transpose()?;
        let saved = |saved: &Option<Saved>| saved.as_ref().map(Saved::get).transpose();
        let (sum, weight) = (saved(&self.sum)?, saved(&self.weight)?);
        match sinks.device().clone().launcher() {
            None => self.backward_cpu(sum.as_ref(), weight.as_ref(), dsum, dout, sinks),
            Some(launcher) => {
                let sum = sum.map(|sum| sum.cast(sinks.device(), DType::F32)).transpose()?;
                launch::backward(launcher, &self.call, [sum.as_ref(), weight.as_ref()], [dsum, dout], sinks)?;
            }
        }
        Ok(())
    }
}

impl LayerNorm {
    fn backward_cpu(
        &self,
        sum: Option<&Tensor>,
        weight: Option<&Tensor>,
        dsum: Option<Tensor>,
        dout: Option<Tensor>,
        sinks: &mut Sinks,
    ) {
        let (call, device) = (&self.call, sinks.device().clone());
        let through = sinks.wants(at::X) || sinks.wants(at::RESIDUAL);
        // What arrived at the sum is added to.
        let accumulate = dsum.is_some();
        let mut dsum = through.then(|| dsum.unwrap_or_else(|| Tensor::empty(&device, &call.shape)));
        if let Some(dout) = &dout {
            let mut dweight = sinks.take(at::WEIGHT, &[call.d]);
            let mut dbias = sinks.take(at::BIAS, &[call.d]);
            cpu::backward(
                call,
                [sum, weight],
                dout.as_slice(),
                dsum.as_mut().map(|dsum| {
                    dsum.make_unique(&device);
                    (accumulate, dsum.as_mut_slice())
                }),
                [dweight.as_mut().map(Sink::zeroed), dbias.as_mut().map(Sink::zeroed)],
            );
            for (at, sink) in [(at::WEIGHT, dweight), (at::BIAS, dbias)] {
                sink.into_iter().for_each(|sink| sinks.put(at, sink));
            }
        }
        let Some(dsum) = dsum else { return };
        if sinks.wants(at::RESIDUAL) {
            sinks.give(at::RESIDUAL, dsum.clone());
        }
        if sinks.wants(at::X) {
            let dh = match call.keep() {
                None => dsum,
                Some(keep) => {
                    let mut dh = Tensor::empty(&device, &call.shape);
                    cpu::scale_images(keep, dsum.as_slice(), dh.as_mut_slice());
                    dh
                }
            };
            sinks.give(at::X, dh);
        }
    }
}
