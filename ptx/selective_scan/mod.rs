//! Bidirectional selective scan (Mamba, Gu & Dao 2023, eq. 2-3; Vim, Zhu et al. 2024, algorithm 1), with softplus,
//! skip, gate and the average of the directions fused into it.
//!
//! Each direction walks the tokens t, one from the first and one from the last, in each channel e:
//! ```text
//! delta' = softplus(delta + delta_bias)            A = -exp(A_log)        u' = u + prompt
//! s[n]   = exp(delta' A[n]) s[n] + delta' u' B[n]  y = sum_n s[n] C[n] + D u'
//! out    = (y_forward + y_backward) / 2 * silu(z)
//! ```
//! u and delta are `[b l e]`; B and C are the last 2n columns of `x_dbl [b l r+2n]`; z is the second half of
//! `xz [b l 2e]`; A_log is `[e n]`; D and delta_bias are `[e]`. Optional prompts `[b l e]`, one for each direction, are
//! added to its u as that is read; the gradient of a prompt is that of its u. Nothing is flipped in memory. The state n
//! is at most 64.
//!
//! All inputs are kept, and y and the state every few tokens; backward computes the states between from those.
//! Gradients of A_log, D and delta_bias are computed only when asked for; that of delta_bias alone is a sum of the
//! gradient of delta. xz, u, delta, x_dbl, prompts, out, y and their gradients have one type, f32 or bf16; all else is f32.
//! A launched device takes a state of 8, 16, 32 or 64, channels in eights and at most 16384 tokens.

mod call;
pub(crate) mod cases;
mod cpu;
mod cpu_backward;
mod launch;
mod onnx;
mod plan;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{Device, Element, Result, Tensor};

pub use call::{Direction, MAX_STATE};

use crate::launch::{on_type, typed};
use crate::rows::sum_rows;
use call::{Dims, Inputs, Kept, OP, at, check};

/// `out [b l e]` of the forward and the backward direction, by the formula above. `prompts[d] [b l e]` is added to u of
/// direction d.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] for a state or, on a launched device, other sizes that it does
/// not take, or what the device fails with.
pub fn selective_scan(
    tape: &Tape,
    xz: &Var,
    directions: [Direction; 2],
    prompts: Option<[&Var; 2]>,
) -> Result<Var> {
    let dims = check(xz, &directions, prompts)?;
    let [f, b] = directions.map(Direction::vars);
    let vars: Vec<&Var> = [xz].into_iter().chain(f).chain(b).chain(prompts.into_iter().flatten()).collect();
    let keep = vars.iter().any(|v| v.wants_grad());

    let values: Vec<Tensor> = vars.iter().map(|v| v.value().clone()).collect();
    let (out, kept) = forward(tape.device(), dims, &values, keep)?;
    let function = || -> Box<dyn Function> {
        let kept = kept.expect("kept when an input wants a gradient");
        Box::new(Scan { dims, saved: vars.iter().map(|v| v.save()).collect(), kept })
    };
    Ok(tape.record(OP, &vars, vec![out], function)?.remove(0))
}

/// `out`, and what is kept when asked.
fn forward(
    device: &Device,
    dims: Dims,
    values: &[Tensor],
    keep: bool,
) -> Result<(Tensor, Option<Kept<Tensor>>)> {
    let dtype = values[at::XZ].dtype();
    let room = |chunk| keep.then(|| Kept::empty(device, dims, chunk, dtype));
    let out = || Tensor::empty_typed(device, dtype, &[dims.b, dims.l, dims.e]);
    match device.launcher() {
        None => on_type!(dtype, E, {
            let (mut out, mut kept) = (out(), room(cpu::CHUNK));
            let to = kept.as_mut().map(|k| Kept { states: k.states.as_mut_slice(), y: k.y.slice_mut() });
            cpu::forward::<E>(dims, &Inputs::new(dims, values), out.slice_mut(), to);
            Ok((out, kept))
        }),
        Some(launcher) => {
            launch::check(dims, values)?;
            let (mut out, mut kept) = (out(), room(launch::CHUNK));
            launch::forward(launcher, dims, values, &mut out, kept.as_mut())?;
            Ok((out, kept))
        }
    }
}

struct Scan {
    dims: Dims,
    /// The inputs in recorded order; u and delta may be recipes.
    saved: Vec<Saved>,
    kept: Kept<Tensor>,
}

impl Function for Scan {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let values = self.saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
        let dtype = values[at::XZ].dtype();
        let dout = typed(sinks.device(), grads.remove(0).expect("the only output"), dtype)?;
        match sinks.device().clone().launcher() {
            None => on_type!(dtype, E, self.backward_cpu::<E>(&values, dout.slice(), sinks)),
            Some(launcher) => launch::backward(launcher, self.dims, &values, &self.kept, &dout, sinks)?,
        }
        Ok(())
    }
}

impl Scan {
    fn backward_cpu<E: Element>(&self, values: &[Tensor], dout: &[E], sinks: &mut Sinks) {
        let Dims { b, l, e, n, r, prompts } = self.dims;
        let inputs = Inputs::<E>::new(self.dims, values);
        let trained = |at: fn(usize) -> usize| sinks.wants(at(0)) || sinks.wants(at(1));
        let device = sinks.device().clone();
        let empty = |shape: &[usize]| Tensor::empty(&device, shape);
        let typed = |shape: &[usize]| Tensor::empty_typed(&device, E::DTYPE, shape);
        let pair = |shape: &[usize]| [typed(shape), typed(shape)];

        let mut dxz = typed(&[b, l, 2 * e]);
        let (mut du, mut ddelta) = (pair(&[b, l, e]), pair(&[b, l, e]));
        let mut dx_dbl = pair(&[b, l, r + 2 * n]);
        let mut da = trained(at::a_log).then(|| empty(&[2, b, n, e]));
        let mut dd = trained(at::d).then(|| empty(&[2, b, e]));
        cpu_backward::backward(
            self.dims,
            &inputs,
            Kept { states: self.kept.states.as_slice(), y: self.kept.y.slice() },
            dout,
            cpu_backward::Grads {
                dxz: dxz.slice_mut(),
                du: du.each_mut().map(Tensor::slice_mut),
                ddelta: ddelta.each_mut().map(Tensor::slice_mut),
                dx_dbl: dx_dbl.each_mut().map(Tensor::slice_mut),
                da: da.as_mut().map(Tensor::as_mut_slice),
                dd: dd.as_mut().map(Tensor::as_mut_slice),
            },
        );

        for dir in 0..2 {
            if let (Some(da), Some(mut sink)) = (&da, sinks.take(at::a_log(dir), &[e, n])) {
                let part = &da.as_slice()[dir * b * n * e..(dir + 1) * b * n * e];
                cpu_backward::grad_a_log(self.dims, inputs.a_log[dir], part, sink.zeroed());
                sinks.put(at::a_log(dir), sink);
            }
            if let (Some(dd), Some(mut sink)) = (&dd, sinks.take(at::d(dir), &[e])) {
                let sum = sink.zeroed();
                for part in dd.as_slice()[dir * b * e..(dir + 1) * b * e].chunks_exact(e) {
                    sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
                }
                sinks.put(at::d(dir), sink);
            }
            if let Some(mut sink) = sinks.take(at::delta_bias(dir), &[e]) {
                sum_rows::<E>(ddelta[dir].slice(), e, sink.zeroed());
                sinks.put(at::delta_bias(dir), sink);
            }
        }
        sinks.give_columns(at::XZ, dxz, e..2 * e);
        for (dir, ((du, ddelta), dx_dbl)) in du.into_iter().zip(ddelta).zip(dx_dbl).enumerate() {
            if prompts {
                sinks.give(at::prompt(dir), du.clone());
            }
            sinks.give(at::u(dir), du);
            sinks.give(at::delta(dir), ddelta);
            sinks.give_columns(at::x_dbl(dir), dx_dbl, r..r + 2 * n);
        }
    }
}
