//! Softmax attention of several heads (Vaswani et al., NeurIPS 2017), as a block of a ViT has it between its products `qkv`
//! and `proj`.
//!
//! ```text
//! q, k, v        the thirds of qkv, head-major as timm has them; each head has c = d / heads channels
//! key, value     the rows of `extra` before those of k, and before those of v (E2VPT, Han et al., ICCV 2023)
//! s[i, j]     =  q_i . key_j / (sqrt(c) t)      t is a learned temperature (GaPT, Yoo et al., ICML 2023), or 1
//! p[i, j]     =  e^s[i, j] / sum_j' e^s[i, j']
//! out_i       =  sum_j p[i, j] value_j
//!
//! ds[i, j]    =  p[i, j] (dp[i, j] - sum_j' p[i, j'] dp[i, j']) with dp[i, j] = dout_i . value_j
//! dq_i        =  sum_j ds[i, j] key_j / (sqrt(c) t)      dkey_j = sum_i ds[i, j] q_i / (sqrt(c) t)
//! dvalue_j    =  sum_i p[i, j] dout_i                    dt = - sum_ij ds[i, j] s[i, j] / t
//! ```
//! `qkv [b l 3d]`, `extra [heads n c]`, the temperatures `[k]`, of which one is used, and `out [b l d]`. The gradient of
//! `extra` is the sum over images of what arrives at its rows as keys and as values. The probabilities of one query row, the
//! class token's, are a second output `[b heads n+l]` where they are asked for; they are for choosing rows, and no gradient
//! goes through them.
//!
//! qkv is kept, and of each query the logarithm of its sum of powers, from which backward computes p again; a launched device
//! keeps out as well. qkv, out and their gradients have one type, f32 or bf16; all else is f32. In bf16 the products take
//! elements of bf16: the extra rows, p and ds are rounded to bf16 before they are multiplied, and sums are f32. p and ds have
//! errors of 2^-9 of themselves, independent of each other, so that a sum of them is off by less than its own rounding to
//! bf16.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;
#[cfg(test)]
mod tests;

use autograd::{Function, Saved, Sink, Sinks, Tape, Var};
use engine::gemm::MatElement;
use engine::{DType, Element, Result, Tensor};

pub use call::Settings;

use crate::launch::{on_type, typed};
use call::{Call, Dims, OP, at};

/// What a call computes.
pub struct Attended {
    /// `[b l d]`, the input of the output projection.
    pub out: Var,
    /// The probabilities `[b heads n+l]` of [`Settings::class_row`], f32 and without a gradient.
    pub probabilities: Option<Var>,
}

/// Attention over `qkv [b l 3d]`, by the formula above.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] for channels that the heads do not share evenly, a class row beyond
/// the last one or a head that the kernels do not take, or what the device fails with.
pub fn attention(tape: &Tape, qkv: &Var, settings: Settings) -> Result<Attended> {
    let dims = Dims::new(qkv, settings)?;
    let (device, Dims { b, l, heads, .. }) = (tape.device(), dims);
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let (extra, temperature) = (settings.extra, settings.temperature.map(|(temperatures, _)| temperatures));
    let vars = [qkv, extra.unwrap_or(&none), temperature.unwrap_or(&none)];
    let value = |var: Option<&Var>| var.map(|var| var.value().clone());
    let call = Call { dims, extra: value(extra), temperature: value(temperature) };
    let dtype = qkv.value().dtype();
    let mut out = Tensor::empty_typed(device, dtype, &[b, l, dims.d()]);
    let trained = vars.iter().any(|var| var.wants_grad());
    let mut sums = trained.then(|| Tensor::empty(device, &[b, heads, l]));
    let mut probabilities = dims.class_row.map(|_| Tensor::empty(device, &[b, heads, dims.keys()]));
    match device.launcher() {
        None => on_type!(dtype, E, {
            let extra = call.extra(device, dtype)?;
            let outputs = cpu::Outputs::<E> {
                out: out.slice_mut(),
                sums: sums.as_mut().map(Tensor::as_mut_slice),
                probabilities: probabilities.as_mut().map(Tensor::as_mut_slice),
            };
            cpu::forward(&call, [qkv.value().slice(), slice_of(&extra)], outputs);
        }),
        Some(launcher) => {
            launch::forward(launcher, &call, qkv.value(), &mut out, sums.as_mut(), probabilities.as_mut())?;
        }
    }
    let kept_out = device.launcher().map(|_| out.clone());
    let function = || -> Box<dyn Function> {
        let sums = sums.expect("a gradient is wanted");
        Box::new(Attention { dtype, call, qkv: qkv.save(), sums, out: kept_out })
    };
    let said = || {
        let number = |number: Option<usize>| number.iter().map(|&number| number as f64).collect();
        vec![
            ("heads", vec![heads as f64]),
            ("temperature", number(dims.temperature)),
            ("class_row", number(dims.class_row)),
        ]
    };
    let outputs = [Some(out), probabilities].into_iter().flatten().collect();
    let mut outputs = tape.record_with(OP, said, &vars, outputs, function)?.into_iter();
    let out = outputs.next().expect("the first output");
    // A trace knows the probabilities by their position; on a tape nothing may arrive at them.
    let apart = |var: Var| if var.traced().is_some() { var } else { Var::constant(var.into_value()) };
    Ok(Attended { out, probabilities: outputs.next().map(apart) })
}

struct Attention {
    /// Type of qkv.
    dtype: DType,
    call: Call,
    qkv: Saved,
    /// Of each query the logarithm of its sum of powers, `[b heads l]`.
    sums: Tensor,
    /// On a launched device.
    out: Option<Tensor>,
}

impl Function for Attention {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let Some(dout) = grads.swap_remove(0) else { return Ok(()) };
        let dout = typed(sinks.device(), dout, self.dtype)?;
        let qkv = self.qkv.get()?;
        match (sinks.device().clone().launcher(), &self.out) {
            (Some(launcher), Some(out)) => {
                launch::backward(launcher, &self.call, [&qkv, &self.sums, out, &dout], sinks)?;
            }
            _ => on_type!(self.dtype, E, self.backward_cpu::<E>(&qkv, &dout, sinks)?),
        }
        Ok(())
    }
}

impl Attention {
    fn backward_cpu<E: MatElement>(&self, qkv: &Tensor, dout: &Tensor, sinks: &mut Sinks) -> Result<()> {
        let extra = self.call.extra(sinks.device(), self.dtype)?;
        let mut dqkv = sinks.take_typed(at::QKV, self.dtype, qkv.shape());
        let mut take =
            |at, value: &Option<Tensor>| value.as_ref().and_then(|value| sinks.take(at, value.shape()));
        let mut dextra = take(at::EXTRA, &self.call.extra);
        let mut dtemperature = take(at::TEMPERATURE, &self.call.temperature);
        let grads = cpu::Grads::<E> {
            qkv: dqkv.as_mut().map(|sink| (sink.accumulate, sink.tensor.slice_mut())),
            extra: dextra.as_mut().map(Sink::zeroed),
            temperature: dtemperature.as_mut().map(Sink::zeroed),
        };
        let inputs = [qkv.slice(), slice_of(&extra)];
        cpu::backward(&self.call, inputs, self.sums.as_slice(), dout.slice(), grads);
        for (at, sink) in [(at::QKV, dqkv), (at::EXTRA, dextra), (at::TEMPERATURE, dtemperature)] {
            sink.into_iter().for_each(|sink| sinks.put(at, sink));
        }
        Ok(())
    }
}

/// The elements of a tensor that may be absent, of which there are then none.
fn slice_of<E: Element>(tensor: &Option<Tensor>) -> &[E] {
    tensor.as_ref().map_or(&[], Tensor::slice)
}
