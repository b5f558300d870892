//! Prompt add, residual add and RMSNorm, the entry of a Vim block (SVP's prompts, Yao et al. 2025, eq. 3-5; Vim's
//! `fused_add_norm`, Zhu et al. 2024).
//!
//! ```text
//! h'       = h + sum_p scale_p * silu(prompt_p + bias_p)    h in row `skip`, which is the class token's
//! residual = residual_in + keep[b] h'                       keep is drop path's: 0, or 1 / (1 - p)
//! out      = weight * residual / sqrt(mean_d residual^2 + 1e-5)
//! ```
//! `h`, `residual_in` and the prompts (the products of at most two generators) are `[b l d]`, `weight` and the biases
//! `[d]`, the scales `[rows d]` and `keep [rows b]`, of which one row is used. The outputs `residual` and `out` are
//! `[b l d]`. Of h and the incoming residual only their sum is kept, beside weight, prompts and factors; backward
//! computes the norm again from it. The prompts and out have the type of h, f32 or bf16; all else is f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod keep;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sink, Sinks, Tape, Var};
use engine::{DType, Element, Result, Tensor};

pub use call::{EPS, MAX_PROMPTS, Prompt, Settings};
pub use keep::{Keep, keep_scales};

use crate::launch::{on_type, typed};
use call::{Call, Dims, OP, at};

/// `[residual, out]`, both `[b l d]`, by the formula above. Without a `residual` it is that of zeros.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] for more than [`MAX_PROMPTS`] prompts or a width that the
/// kernels do not take, or what the device fails with.
pub fn prompt_add_norm(
    tape: &Tape,
    h: &Var,
    residual: Option<&Var>,
    prompts: &[Prompt],
    weight: &Var,
    settings: Settings,
) -> Result<[Var; 2]> {
    let call = Call::new(h, residual, prompts, weight, settings)?;
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let mut vars = vec![h, residual.unwrap_or(&none), weight];
    vars.extend(prompts.iter().flat_map(|p| [p.generated, p.bias, p.scale]));

    let mut sum = Tensor::empty(tape.device(), h.shape());
    let mut out = Tensor::empty_typed(tape.device(), call.dtype, h.shape());
    let values: Vec<Tensor> = vars.iter().map(|v| v.value().clone()).collect();
    match tape.device().launcher() {
        None => on_type!(call.dtype, E, {
            let h = values[at::H].slice::<E>();
            cpu::forward(&call.inputs(&values), h, sum.as_mut_slice(), out.slice_mut());
        }),
        Some(launcher) => launch::forward(launcher, &call, &values, &mut sum, &mut out)?,
    }

    let kept_sum = sum.clone();
    let function = || -> Box<dyn Function> {
        let saved = vars[at::WEIGHT..].iter().map(|v| v.save()).collect();
        Box::new(AddNorm { call, sum: kept_sum, saved })
    };
    let said = || {
        let rows = prompts.iter().map(|prompt| prompt.row as f64).collect();
        vec![("rows", rows), ("skip", settings.skip.iter().map(|&row| row as f64).collect())]
    };
    let mut outputs = tape.record_with(OP, said, &vars, vec![sum, out], function)?.into_iter();
    Ok([outputs.next().expect("two outputs"), outputs.next().expect("two outputs")])
}

struct AddNorm {
    call: Call,
    /// What was normalised.
    sum: Tensor,
    /// The inputs from [`at::WEIGHT`] on.
    saved: Vec<Saved>,
}

impl Function for AddNorm {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let saved = self.saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
        // In recorded order, with the sum in the places of h and the incoming residual.
        let values = [vec![self.sum.clone(); at::WEIGHT], saved].concat();
        let mut grad = |dtype| grads.remove(0).map(|grad| typed(sinks.device(), grad, dtype)).transpose();
        let grads = [grad(DType::F32)?, grad(self.call.dtype)?];
        match sinks.device().clone().launcher() {
            None => on_type!(self.call.dtype, E, self.backward_cpu::<E>(&values, grads, sinks)),
            Some(launcher) => launch::backward(launcher, &self.call, &values, grads, sinks)?,
        }
        Ok(())
    }
}

impl AddNorm {
    fn backward_cpu<E: Element>(
        &self,
        values: &[Tensor],
        [dresidual, dout]: [Option<Tensor>; 2],
        sinks: &mut Sinks,
    ) {
        let Dims { b, l, d, .. } = self.call.dims;
        let inputs = self.call.inputs::<E>(values);
        let device = sinks.device().clone();
        // The gradient of the sum: what arrives from the next block, and what comes through the norm.
        let mut dsum = dresidual.unwrap_or_else(|| Tensor::zeros(&device, &[b, l, d]));
        dsum.make_unique(&device);
        if let Some(dout) = &dout {
            let mut weight_sink = sinks.take(at::WEIGHT, &[d]);
            let dweight = weight_sink.as_mut().map(Sink::zeroed);
            cpu::backward_norm(&inputs, self.sum.as_slice(), dout.slice(), dsum.as_mut_slice(), dweight);
            weight_sink.into_iter().for_each(|sink| sinks.put(at::WEIGHT, sink));
        }
        if self.call.has_residual {
            sinks.give(at::RESIDUAL, dsum.clone());
        }
        for (i, row) in self.call.rows.iter().enumerate() {
            let [generated, bias, scale] = [at::generated(i), at::bias(i), at::scale(i)];
            let mut generated_sink = sinks.take_typed(generated, E::DTYPE, &[b, l, d]);
            let mut bias_sink = sinks.take(bias, &[d]);
            let mut scale_sink = sinks.take(scale, values[scale].shape());
            let dgenerated = generated_sink.as_mut().map(|s| (s.accumulate, s.tensor.slice_mut()));
            let dbias = bias_sink.as_mut().map(Sink::zeroed);
            let dscale = scale_sink.as_mut().map(|s| &mut s.zeroed()[row * d..(row + 1) * d]);
            cpu::backward_prompt(&inputs, i, dsum.as_slice(), dgenerated, dbias, dscale);
            for (input, sink) in [(generated, generated_sink), (bias, bias_sink), (scale, scale_sink)] {
                sink.into_iter().for_each(|sink| sinks.put(input, sink));
            }
        }
        if sinks.wants(at::H) {
            let dh = if inputs.keep.is_none() && E::DTYPE == DType::F32 {
                dsum
            } else {
                let mut dh = Tensor::empty_typed(&device, E::DTYPE, &[b, l, d]);
                cpu::scale_rows(&inputs, dsum.as_slice(), dh.slice_mut::<E>());
                dh
            };
            sinks.give(at::H, dh);
        }
    }
}
