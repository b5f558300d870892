//! Bidirectional selective scan (Mamba, Gu & Dao 2023, eq. 2-3; Vim, Zhu et al. 2024, algorithm 1), with
//! softplus, skip, gate and the average of the directions fused.
//!
//! Per direction, walking the tokens t from the start (forward) or from the end (backward), per channel e:
//! ```text
//! delta' = softplus(delta + delta_bias)            A = -exp(A_log)
//! s[n]   = exp(delta' A[n]) s[n] + delta' u B[n]   y = sum_n s[n] C[n] + D u
//! out    = (y_forward + y_backward) / 2 * silu(z)
//! ```
//! Axes: `u, delta: [b l e]`; B and C are the last 2n columns of `x_dbl: [b l r+2n]`; z the second half of
//! `xz: [b l 2e]`; `A_log: [e n]`; `D, delta_bias: [e]`. Optional prompts `[b l e]`, one a direction, are added to that
//! direction's u as it is read; a prompt's gradient is that of its u. Nothing is flipped in memory. State up to 64.
//!
//! Forward keeps y and the state every [`CHUNK`] tokens; backward recomputes a chunk's states from it. Gradients of
//! A_log, D and delta_bias are computed only when asked. On a launched device (state 8, 16, 32 or 64, channels in
//! eights, up to 16384 tokens) xz, u, delta, x_dbl, prompts, out and their gradients have one type, f32 or bf16; the
//! rest is f32.

pub mod cases;
mod cpu;
mod cpu_backward;
mod launch;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::shape::{axes3, check_shape};
use engine::{Device, Error, Result, Tensor};

use crate::launch::typed;

const OP: &str = "selective_scan";

/// Tokens between kept states.
pub const CHUNK: usize = 8;

/// Largest state.
pub const MAX_STATE: usize = 64;

/// The inputs of one direction, named as in the published state dict where they are parameters.
#[derive(Clone, Copy)]
pub struct Direction<'a> {
    /// `[b l e]`: output of the causal convolution.
    pub u: &'a Var,
    /// `[b l e]`: output of dt_proj, before its bias.
    pub delta: &'a Var,
    /// `[b l r+2n]`: output of x_proj.
    pub x_dbl: &'a Var,
    /// `[e n]`
    pub a_log: &'a Var,
    /// `[e]`
    pub d: &'a Var,
    /// `[e]`: the bias of dt_proj.
    pub delta_bias: &'a Var,
}

impl<'a> Direction<'a> {
    fn vars(self) -> [&'a Var; 6] {
        [self.u, self.delta, self.x_dbl, self.a_log, self.d, self.delta_bias]
    }
}

/// Positions of the inputs of a recorded call: xz, the six of each direction, and the two prompts where there are any.
mod at {
    pub const XZ: usize = 0;
    const PARTS: usize = 6;
    /// Inputs of a call without prompts.
    pub const COUNT: usize = 1 + 2 * PARTS;

    pub const fn u(dir: usize) -> usize {
        1 + PARTS * dir
    }

    pub const fn delta(dir: usize) -> usize {
        u(dir) + 1
    }

    pub const fn x_dbl(dir: usize) -> usize {
        u(dir) + 2
    }

    pub const fn a_log(dir: usize) -> usize {
        u(dir) + 3
    }

    pub const fn d(dir: usize) -> usize {
        u(dir) + 4
    }

    pub const fn delta_bias(dir: usize) -> usize {
        u(dir) + 5
    }

    pub const fn prompt(dir: usize) -> usize {
        COUNT + dir
    }
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dims {
    pub b: usize,
    pub l: usize,
    pub e: usize,
    pub n: usize,
    pub r: usize,
    /// Whether prompts are added to u.
    pub prompts: bool,
}

impl Dims {
    pub fn chunks(&self) -> usize {
        self.l.div_ceil(CHUNK)
    }
}

/// `out: [b l e]` of both directions; see the module for the formula. `prompts[d]: [b l e]` is added to u of direction d.
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
        let saved = vars.iter().map(|v| v.save()).collect();
        Box::new(Scan { dims, saved, kept })
    };
    Ok(tape.record(OP, &vars, vec![out], function)?.remove(0))
}

/// What the backward pass starts from.
enum Kept {
    Cpu(cpu::Kept<Tensor>),
    Launched(launch::Kept),
}

fn forward(device: &Device, dims: Dims, values: &[Tensor], keep: bool) -> Result<(Tensor, Option<Kept>)> {
    let Dims { b, l, e, n, .. } = dims;
    let dtype = values[at::XZ].dtype();
    let mut out = Tensor::empty_typed(device, dtype, &[b, l, e]);
    let kept = match device.launcher() {
        None => {
            let mut kept = keep.then(|| cpu::Kept {
                states: Tensor::empty(device, &[2, b, dims.chunks(), n, e]),
                y: Tensor::empty(device, &[b, l, e]),
            });
            let to_keep =
                kept.as_mut().map(|k| cpu::Kept { states: k.states.as_mut_slice(), y: k.y.as_mut_slice() });
            cpu::forward(dims, &Inputs::new(dims, values), out.as_mut_slice(), to_keep);
            kept.map(Kept::Cpu)
        }
        Some(launcher) => {
            launch::check(dims, values)?;
            let mut kept = keep.then(|| launch::Kept::new(device, dims, dtype));
            launch::forward(launcher, dims, values, &mut out, kept.as_mut())?;
            kept.map(Kept::Launched)
        }
    };
    Ok((out, kept))
}

fn check(xz: &Var, directions: &[Direction; 2], prompts: Option<[&Var; 2]>) -> Result<Dims> {
    let [b, l, e] = axes3(OP, "u", "[b l e]", directions[0].u.shape())?;
    let n = directions[0].a_log.shape().last().copied().unwrap_or(0);
    let width = directions[0].x_dbl.shape().last().copied().unwrap_or(0);
    if n == 0 || n > MAX_STATE || width < 2 * n {
        let what = format!("state {n} of x_dbl width {width}: 1 to {MAX_STATE}, and twice it in x_dbl");
        return Err(Error::Unsupported { op: OP, what });
    }
    let is = |name, axes, want: &[usize], var: &Var| check_shape(OP, name, axes, want, var.shape());
    is("xz", "[b l 2e]", &[b, l, 2 * e], xz)?;
    for direction in directions {
        is("u", "[b l e]", &[b, l, e], direction.u)?;
        is("delta", "[b l e]", &[b, l, e], direction.delta)?;
        is("x_dbl", "[b l r+2n]", &[b, l, width], direction.x_dbl)?;
        is("A_log", "[e n]", &[e, n], direction.a_log)?;
        is("D", "[e]", &[e], direction.d)?;
        is("delta_bias", "[e]", &[e], direction.delta_bias)?;
    }
    for prompt in prompts.into_iter().flatten() {
        is("prompt", "[b l e]", &[b, l, e], prompt)?;
    }
    Ok(Dims { b, l, e, n, r: width - 2 * n, prompts: prompts.is_some() })
}

/// The values of one call, as slices.
pub(crate) struct Inputs<'a> {
    pub xz: &'a [f32],
    pub u: [&'a [f32]; 2],
    pub delta: [&'a [f32]; 2],
    pub x_dbl: [&'a [f32]; 2],
    pub a_log: [&'a [f32]; 2],
    pub d: [&'a [f32]; 2],
    pub delta_bias: [&'a [f32]; 2],
    pub prompts: Option<[&'a [f32]; 2]>,
}

impl<'a> Inputs<'a> {
    /// From the tensors in recorded order.
    fn new(dims: Dims, values: &'a [Tensor]) -> Self {
        let both = |at: fn(usize) -> usize| [0, 1].map(|dir| values[at(dir)].as_slice());
        Inputs {
            xz: values[at::XZ].as_slice(),
            u: both(at::u),
            delta: both(at::delta),
            x_dbl: both(at::x_dbl),
            a_log: both(at::a_log),
            d: both(at::d),
            delta_bias: both(at::delta_bias),
            prompts: dims.prompts.then(|| both(at::prompt)),
        }
    }
}

struct Scan {
    dims: Dims,
    /// In recorded order; u and delta may be recipes.
    saved: Vec<Saved>,
    kept: Kept,
}

impl Function for Scan {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let values = self.saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
        let dout = grads.remove(0).expect("the only output");
        match (&self.kept, sinks.device().clone().launcher()) {
            (Kept::Launched(kept), Some(launcher)) => {
                let dout = typed(dout, values[at::XZ].dtype())?;
                launch::backward(launcher, self.dims, &values, kept, &dout, sinks)
            }
            (Kept::Cpu(kept), _) => {
                self.backward_cpu(&values, kept, &dout, sinks);
                Ok(())
            }
            (Kept::Launched(_), None) => unreachable!("kept on the device of the tape"),
        }
    }
}

impl Scan {
    fn backward_cpu(&self, values: &[Tensor], kept: &cpu::Kept<Tensor>, dout: &Tensor, sinks: &mut Sinks) {
        let Dims { b, l, e, n, r, prompts } = self.dims;
        let inputs = Inputs::new(self.dims, values);
        let trained = |at: fn(usize) -> usize| sinks.wants(at(0)) || sinks.wants(at(1));
        let device = sinks.device().clone();
        let empty = |shape: &[usize]| Tensor::empty(&device, shape);
        let pair = |shape: &[usize]| [empty(shape), empty(shape)];

        let mut dxz = empty(&[b, l, 2 * e]);
        let (mut du, mut ddelta) = (pair(&[b, l, e]), pair(&[b, l, e]));
        let mut dx_dbl = pair(&[b, l, r + 2 * n]);
        let mut da = trained(at::a_log).then(|| empty(&[2, b, n, e]));
        let mut dd = trained(at::d).then(|| empty(&[2, b, e]));
        cpu_backward::backward(
            self.dims,
            &inputs,
            cpu::Kept { states: kept.states.as_slice(), y: kept.y.as_slice() },
            dout.as_slice(),
            cpu_backward::Grads {
                dxz: dxz.as_mut_slice(),
                du: du.each_mut().map(Tensor::as_mut_slice),
                ddelta: ddelta.each_mut().map(Tensor::as_mut_slice),
                dx_dbl: dx_dbl.each_mut().map(Tensor::as_mut_slice),
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
                crate::rows::sum_rows(ddelta[dir].as_slice(), e, sink.zeroed());
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
