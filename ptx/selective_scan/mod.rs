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
//! `xz: [b l 2e]`; `A_log: [e n]`; `D, delta_bias: [e]`; an optional `prompt: [b l e]` is added to u of both
//! directions. Nothing is flipped in memory. State up to 64.
//!
//! Forward keeps y and the state every [`CHUNK`] tokens; backward recomputes a chunk's states from it. Gradients of
//! A_log, D and delta_bias are computed only when asked; that of delta_bias alone is a sum of the gradient of delta. On a launched device (state 8, 16, 32 or 64, channels in
//! eights, up to 16384 tokens) xz, u, delta, x_dbl, prompt, out and their gradients have one type, f32 or bf16; the
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

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dims {
    pub b: usize,
    pub l: usize,
    pub e: usize,
    pub n: usize,
    pub r: usize,
}

impl Dims {
    pub fn chunks(&self) -> usize {
        self.l.div_ceil(CHUNK)
    }
}

/// `out: [b l e]` of both directions; see the module for the formula.
pub fn selective_scan(
    tape: &Tape,
    xz: &Var,
    directions: [Direction; 2],
    prompt: Option<&Var>,
) -> Result<Var> {
    let dims = check(xz, &directions, prompt)?;
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let [f, b] = directions.map(Direction::vars);
    let vars: Vec<&Var> = [xz].into_iter().chain(f).chain(b).chain([prompt.unwrap_or(&none)]).collect();
    let keep = vars.iter().any(|v| v.wants_grad());

    let values: Vec<Tensor> = vars.iter().map(|v| v.value().clone()).collect();
    let (out, kept) = forward(tape.device(), dims, &values, prompt.is_some(), keep)?;
    let function = || -> Box<dyn Function> {
        let kept = kept.expect("kept when an input wants a gradient");
        let saved = vars.iter().map(|v| v.save()).collect();
        Box::new(Scan { dims, saved, kept, prompt: prompt.is_some() })
    };
    Ok(tape.record(OP, &vars, vec![out], function)?.remove(0))
}

/// What the backward pass starts from.
enum Kept {
    Cpu(cpu::Kept<Tensor>),
    Launched(launch::Kept),
}

fn forward(
    device: &Device,
    dims: Dims,
    values: &[Tensor],
    prompt: bool,
    keep: bool,
) -> Result<(Tensor, Option<Kept>)> {
    let Dims { b, l, e, n, .. } = dims;
    let dtype = values[0].dtype();
    let mut out = Tensor::empty_typed(device, dtype, &[b, l, e]);
    let kept = match device.launcher() {
        None => {
            let mut kept = keep.then(|| cpu::Kept {
                states: Tensor::empty(device, &[2, b, dims.chunks(), n, e]),
                y: Tensor::empty(device, &[b, l, e]),
            });
            let to_keep =
                kept.as_mut().map(|k| cpu::Kept { states: k.states.as_mut_slice(), y: k.y.as_mut_slice() });
            cpu::forward(dims, &Inputs::new(values, prompt), out.as_mut_slice(), to_keep);
            kept.map(Kept::Cpu)
        }
        Some(launcher) => {
            launch::check(dims, values, prompt)?;
            let mut kept = keep.then(|| launch::Kept::new(device, dims, dtype));
            launch::forward(launcher, dims, values, prompt, &mut out, kept.as_mut())?;
            kept.map(Kept::Launched)
        }
    };
    Ok((out, kept))
}

fn check(xz: &Var, directions: &[Direction; 2], prompt: Option<&Var>) -> Result<Dims> {
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
    prompt.map_or(Ok(()), |p| is("prompt", "[b l e]", &[b, l, e], p))?;
    Ok(Dims { b, l, e, n, r: width - 2 * n })
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
    pub prompt: Option<&'a [f32]>,
}

impl<'a> Inputs<'a> {
    /// From the tensors in the order they are recorded.
    fn new(values: &'a [Tensor], prompt: bool) -> Self {
        let both = |i: usize| [values[1 + i].as_slice(), values[7 + i].as_slice()];
        Inputs {
            xz: values[0].as_slice(),
            u: both(0),
            delta: both(1),
            x_dbl: both(2),
            a_log: both(3),
            d: both(4),
            delta_bias: both(5),
            prompt: prompt.then(|| values[13].as_slice()),
        }
    }
}

struct Scan {
    dims: Dims,
    /// In recorded order; u and delta may be recipes.
    saved: Vec<Saved>,
    kept: Kept,
    prompt: bool,
}

impl Function for Scan {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let values = self.saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
        let dout = grads.remove(0).expect("the only output");
        match (&self.kept, sinks.device().clone().launcher()) {
            (Kept::Launched(kept), Some(launcher)) => {
                let dout = typed(dout, values[0].dtype())?;
                launch::backward(launcher, self.dims, &values, self.prompt, kept, &dout, sinks)
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
        let Dims { b, l, e, n, r } = self.dims;
        let inputs = Inputs::new(values, self.prompt);
        let trained = |i: usize| sinks.wants(1 + i) || sinks.wants(7 + i);
        let device = sinks.device().clone();
        let empty = |shape: &[usize]| Tensor::empty(&device, shape);
        let pair = |shape: &[usize]| [empty(shape), empty(shape)];

        let mut dxz = empty(&[b, l, 2 * e]);
        let (mut du, mut ddelta) = (pair(&[b, l, e]), pair(&[b, l, e]));
        let mut dx_dbl = pair(&[b, l, r + 2 * n]);
        let mut da = trained(3).then(|| empty(&[2, b, n, e]));
        let mut dd = trained(4).then(|| empty(&[2, b, e]));
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
            let at = 1 + 6 * dir;
            if let (Some(da), Some(mut sink)) = (&da, sinks.take(at + 3, &[e, n])) {
                let part = &da.as_slice()[dir * b * n * e..(dir + 1) * b * n * e];
                cpu_backward::grad_a_log(self.dims, inputs.a_log[dir], part, sink.zeroed());
                sinks.put(at + 3, sink);
            }
            if let (Some(dd), Some(mut sink)) = (&dd, sinks.take(at + 4, &[e])) {
                let sum = sink.zeroed();
                for part in dd.as_slice()[dir * b * e..(dir + 1) * b * e].chunks_exact(e) {
                    sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
                }
                sinks.put(at + 4, sink);
            }
            if let Some(mut sink) = sinks.take(at + 5, &[e]) {
                crate::rows::sum_rows(ddelta[dir].as_slice(), e, sink.zeroed());
                sinks.put(at + 5, sink);
            }
        }
        for du in du.iter().take(if self.prompt { 2 } else { 0 }) {
            sinks.give(13, du.clone());
        }
        sinks.give_columns(0, dxz, e..2 * e);
        for (dir, ((du, ddelta), dx_dbl)) in du.into_iter().zip(ddelta).zip(dx_dbl).enumerate() {
            sinks.give(1 + 6 * dir, du);
            sinks.give(2 + 6 * dir, ddelta);
            sinks.give_columns(3 + 6 * dir, dx_dbl, r..r + 2 * n);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{Case, backward_kernels};

    #[test]
    fn the_bias_of_delta_alone_costs_a_sum() {
        let case = Case::new(&[("b", 1), ("l", 5), ("e", 8), ("n", 8), ("r", 1)]);
        let kernels = |trained: &[&str]| backward_kernels(&super::cases::SelectiveScan, &case, trained);
        let walk = ["selective_scan_backward_n8_f32", "selective_scan_sum_bc_f32"];
        assert_eq!(kernels(&["u_f", "delta_b"]), walk);
        assert_eq!(kernels(&["delta_bias_f", "delta_bias_b"]), [&["rows_sum_f32"], &walk[..]].concat());
        assert!(kernels(&["D_f"]).contains(&"selective_scan_backward_trained_n8_f32".into()));
    }
}
