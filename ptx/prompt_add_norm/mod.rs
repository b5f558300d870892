//! Prompt add + residual add + RMSNorm, the entry of a Vim block (SVP, eq. 3-5; Vim's `fused_add_norm`).
//!
//! ```text
//! h'       = h + sum_p scale_p * silu(prompt_p + bias_p)    not in row `skip` (the class token)
//! residual = residual_in + keep[b] h'                 keep: drop path, 0 or 1 / (1 - p) per image
//! out      = weight * residual / sqrt(mean_d residual^2 + eps)
//! ```
//! Axes: `h, residual_in, prompt_p: [b l d]` (the generators' products, at most two), `weight, bias_p: [d]`,
//! `scale_p: [rows d]` and `keep: [rows b]`, of which one row is used. Outputs residual and out, `[b l d]`.
//! Backward recomputes the norm from the residual. On a launched device the prompts and out have the type of h;
//! residual, weight, biases, scales and keep are f32.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use autograd::{Function, Saved, Sink, Sinks, Tape, Var};
use engine::shape::{axes3, check_shape};
use engine::{DType, Error, Result, Tensor};

use crate::launch::typed;

const OP: &str = "prompt_add_norm";

/// Added to the mean square (Vim's RMSNorm).
pub const EPS: f64 = 1e-5;

/// Most prompts added in one call: inner and cross.
pub const MAX_PROMPTS: usize = 2;

/// A generated prompt with the last bias of its generator and its learned scale.
#[derive(Clone, Copy)]
pub struct Prompt<'a> {
    /// `[b l d]`, before bias and SiLU.
    pub generated: &'a Var,
    /// `[d]`
    pub bias: &'a Var,
    /// `[rows d]`; this call uses `row`.
    pub scale: &'a Var,
    pub row: usize,
}

/// The settings of one call.
#[derive(Clone, Copy, Default)]
pub struct Settings<'a> {
    /// The token that gets no prompt.
    pub skip: Option<usize>,
    /// Drop path's factor of each image.
    pub keep: Option<Keep<'a>>,
}

/// One row of drop path's factors: those of all layers come to the device together.
#[derive(Clone, Copy)]
pub struct Keep<'a> {
    /// `[rows b]`, f32.
    pub scales: &'a Tensor,
    pub row: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Dims {
    pub b: usize,
    pub l: usize,
    pub d: usize,
    pub skip: Option<usize>,
}

/// `[residual, out]`; see the module for the formula.
pub fn prompt_add_norm(
    tape: &Tape,
    h: &Var,
    residual: Option<&Var>,
    prompts: &[Prompt],
    weight: &Var,
    settings: Settings,
) -> Result<[Var; 2]> {
    let dims = check(h, residual, prompts, weight, settings)?;
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let mut vars = vec![h, residual.unwrap_or(&none), weight];
    vars.extend(prompts.iter().flat_map(|p| [p.generated, p.bias, p.scale]));

    let rows: Vec<usize> = prompts.iter().map(|p| p.row).collect();
    let dtype = h.value().dtype();
    let mut sum = Tensor::empty(tape.device(), h.shape());
    let mut out = Tensor::empty_typed(tape.device(), dtype, h.shape());
    let call = Call {
        dims,
        rows,
        has_residual: residual.is_some(),
        keep: settings.keep.map(|keep| (keep.scales.clone(), keep.row)),
    };
    let values: Vec<Tensor> = vars.iter().map(|v| v.value().clone()).collect();
    match tape.device().launcher() {
        None => cpu::forward(&call.inputs(&values), sum.as_mut_slice(), out.as_mut_slice()),
        Some(launcher) => launch::forward(launcher, &call, &values, &mut sum, &mut out)?,
    }

    let kept = sum.clone();
    let function = || -> Box<dyn Function> {
        // Of h and the incoming residual only the sum is needed again.
        let saved = [2].into_iter().chain(3..vars.len()).map(|i| vars[i].save()).collect();
        Box::new(AddNorm {
            call,
            dtype,
            residual: kept,
            saved,
            scale_shapes: prompts.iter().map(|p| p.scale.shape().to_vec()).collect(),
        })
    };
    let mut outputs = tape.record(OP, &vars, vec![sum, out], function)?.into_iter();
    Ok([outputs.next().expect("two outputs"), outputs.next().expect("two outputs")])
}

fn check(
    h: &Var,
    residual: Option<&Var>,
    prompts: &[Prompt],
    weight: &Var,
    settings: Settings,
) -> Result<Dims> {
    let [b, l, d] = axes3(OP, "h", "[b l d]", h.shape())?;
    let is = |name, axes, want: &[usize], got: &[usize]| check_shape(OP, name, axes, want, got);
    residual.map_or(Ok(()), |r| is("residual", "[b l d]", &[b, l, d], r.shape()))?;
    is("weight", "[d]", &[d], weight.shape())?;
    if let Some(keep) = settings.keep {
        let rows = keep.scales.shape().first().copied().unwrap_or(0).max(keep.row + 1);
        is("keep", "[rows b]", &[rows, b], keep.scales.shape())?;
    }
    if prompts.len() > MAX_PROMPTS {
        let what = format!("{} prompts: at most {MAX_PROMPTS}", prompts.len());
        return Err(Error::Unsupported { op: OP, what });
    }
    for prompt in prompts {
        is("prompt", "[b l d]", &[b, l, d], prompt.generated.shape())?;
        is("bias", "[d]", &[d], prompt.bias.shape())?;
        let rows = prompt.scale.shape().first().copied().unwrap_or(0).max(prompt.row + 1);
        is("scale", "[rows d]", &[rows, d], prompt.scale.shape())?;
    }
    Ok(Dims { b, l, d, skip: settings.skip })
}

/// What a call is, without its values.
struct Call {
    dims: Dims,
    /// The row of each prompt's scale.
    rows: Vec<usize>,
    has_residual: bool,
    /// Drop path's factors, and the row of them.
    keep: Option<(Tensor, usize)>,
}

/// Position of an input of prompt `i`: `GENERATED`, `BIAS` or `SCALE`.
pub(crate) fn prompt_input(i: usize, which: usize) -> usize {
    3 + 3 * i + which
}

pub(crate) const GENERATED: usize = 0;
pub(crate) const BIAS: usize = 1;
pub(crate) const SCALE: usize = 2;

/// The values of one prompt, as slices; the used row of its scale.
#[derive(Clone, Copy)]
pub(crate) struct PromptIn<'a> {
    pub generated: &'a [f32],
    pub bias: &'a [f32],
    pub scale: &'a [f32],
}

/// The values of one call, as slices.
pub(crate) struct Inputs<'a> {
    pub dims: Dims,
    pub h: &'a [f32],
    pub residual: Option<&'a [f32]>,
    pub weight: &'a [f32],
    pub prompts: Vec<PromptIn<'a>>,
    pub keep: Option<&'a [f32]>,
}

impl Call {
    /// From the tensors in recorded order.
    fn inputs<'a>(&'a self, values: &'a [Tensor]) -> Inputs<'a> {
        let Dims { b, d, .. } = self.dims;
        let prompt = |(i, row): (usize, &usize)| PromptIn {
            generated: values[prompt_input(i, GENERATED)].as_slice(),
            bias: values[prompt_input(i, BIAS)].as_slice(),
            scale: &values[prompt_input(i, SCALE)].as_slice()[row * d..(row + 1) * d],
        };
        Inputs {
            dims: self.dims,
            h: values[0].as_slice(),
            residual: self.has_residual.then(|| values[1].as_slice()),
            weight: values[2].as_slice(),
            prompts: self.rows.iter().enumerate().map(prompt).collect(),
            keep: self.keep.as_ref().map(|(scales, row)| &scales.as_slice()[row * b..(row + 1) * b]),
        }
    }
}

struct AddNorm {
    call: Call,
    /// Of h.
    dtype: DType,
    /// The sum that is normalised.
    residual: Tensor,
    /// weight, then generated, bias and scale of each prompt.
    saved: Vec<Saved>,
    scale_shapes: Vec<Vec<usize>>,
}

impl Function for AddNorm {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let saved = self.saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
        let values: Vec<Tensor> =
            [&self.residual, &self.residual].into_iter().chain(&saved).cloned().collect();
        let mut grad = |dtype| grads.remove(0).map(|grad| typed(grad, dtype)).transpose();
        let grads = [grad(DType::F32)?, grad(self.dtype)?];
        match sinks.device().clone().launcher() {
            None => self.backward_cpu(&values, grads, sinks),
            Some(launcher) => {
                let (call, shapes) = (&self.call, &self.scale_shapes);
                launch::backward(launcher, call, self.dtype, &values, grads, shapes, sinks)?;
            }
        }
        Ok(())
    }
}

impl AddNorm {
    fn backward_cpu(&self, values: &[Tensor], [dresidual, dout]: [Option<Tensor>; 2], sinks: &mut Sinks) {
        let Dims { b, l, d, .. } = self.call.dims;
        let inputs = self.call.inputs(values);
        let device = sinks.device().clone();
        // The gradient of the sum: what arrives from the next block, plus what comes through the norm.
        let mut dsum = match dresidual {
            Some(dsum) => dsum,
            None => Tensor::zeros(&device, &[b, l, d]),
        };
        dsum.make_unique(&device);
        if let Some(dout) = &dout {
            let mut weight_sink = sinks.take(2, &[d]);
            let dweight = weight_sink.as_mut().map(Sink::zeroed);
            cpu::backward_norm(&inputs, dout.as_slice(), dsum.as_mut_slice(), dweight);
            weight_sink.into_iter().for_each(|sink| sinks.put(2, sink));
        }
        if self.call.has_residual {
            sinks.give(1, dsum.clone());
        }
        for (i, row) in self.call.rows.iter().enumerate() {
            let [generated, bias, scale] = [GENERATED, BIAS, SCALE].map(|which| prompt_input(i, which));
            let mut generated_sink = sinks.take(generated, &[b, l, d]);
            let mut bias_sink = sinks.take(bias, &[d]);
            let mut scale_sink = sinks.take(scale, &self.scale_shapes[i]);
            let dgenerated = generated_sink.as_mut().map(|s| (s.accumulate, s.tensor.as_mut_slice()));
            let dbias = bias_sink.as_mut().map(Sink::zeroed);
            let dscale = scale_sink.as_mut().map(|s| &mut s.zeroed()[row * d..(row + 1) * d]);
            cpu::backward_prompt(&inputs, i, dsum.as_slice(), dgenerated, dbias, dscale);
            for (input, sink) in [(generated, generated_sink), (bias, bias_sink), (scale, scale_sink)] {
                sink.into_iter().for_each(|sink| sinks.put(input, sink));
            }
        }
        if sinks.wants(0) {
            let dh = match inputs.keep {
                None => dsum,
                Some(keep) => {
                    let mut dh = Tensor::empty(&device, &[b, l, d]);
                    cpu::scale_images(keep, dsum.as_slice(), dh.as_mut_slice());
                    dh
                }
            };
            sinks.give(0, dh);
        }
    }
}
