//! What one call gets and leaves for its backward pass: sizes, inputs by position, states.

use autograd::Var;
use engine::shape::{axes3, check_shape};
use engine::{DType, Device, Element, Error, Result, Tensor};

pub(super) const OP: &str = "selective_scan";

/// Largest state.
pub const MAX_STATE: usize = 64;

/// The inputs of one direction, named as in the published state dict where they are parameters.
#[derive(Clone, Copy)]
pub struct Direction<'a> {
    /// `[b l e]`: output of the causal convolution.
    pub u: &'a Var,
    /// `[b l e]`: output of `dt_proj`, before its bias.
    pub delta: &'a Var,
    /// `[b l r+2n]`: output of `x_proj`, of which the last 2n columns are B and C.
    pub x_dbl: &'a Var,
    /// `[e n]`
    pub a_log: &'a Var,
    /// `[e]`
    pub d: &'a Var,
    /// `[e]`: the bias of `dt_proj`.
    pub delta_bias: &'a Var,
}

impl<'a> Direction<'a> {
    /// In recorded order.
    pub(super) fn vars(self) -> [&'a Var; 6] {
        [self.u, self.delta, self.x_dbl, self.a_log, self.d, self.delta_bias]
    }
}

/// Positions of the inputs in a recorded call: xz, the six of each direction, and the two prompts where there are any.
pub(super) mod at {
    pub const XZ: usize = 0;
    const PARTS: usize = 6;

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
        1 + 2 * PARTS + dir
    }
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    pub l: usize,
    pub e: usize,
    pub n: usize,
    pub r: usize,
    /// Whether prompts are added to u.
    pub prompts: bool,
}

pub(super) fn check(xz: &Var, directions: &[Direction; 2], prompts: Option<[&Var; 2]>) -> Result<Dims> {
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

/// The values of one call on the CPU; those of both directions side by side.
pub(super) struct Inputs<'a, E> {
    pub xz: &'a [E],
    pub u: [&'a [E]; 2],
    pub delta: [&'a [E]; 2],
    pub x_dbl: [&'a [E]; 2],
    pub a_log: [&'a [f32]; 2],
    pub d: [&'a [f32]; 2],
    pub delta_bias: [&'a [f32]; 2],
    pub prompts: Option<[&'a [E]; 2]>,
}

impl<'a, E: Element> Inputs<'a, E> {
    /// From the tensors in recorded order.
    pub fn new(dims: Dims, values: &'a [Tensor]) -> Self {
        let typed = |at: fn(usize) -> usize| [0, 1].map(|dir| values[at(dir)].slice());
        let both = |at: fn(usize) -> usize| [0, 1].map(|dir| values[at(dir)].as_slice());
        Inputs {
            xz: values[at::XZ].slice(),
            u: typed(at::u),
            delta: typed(at::delta),
            x_dbl: typed(at::x_dbl),
            a_log: both(at::a_log),
            d: both(at::d),
            delta_bias: both(at::delta_bias),
            prompts: dims.prompts.then(|| typed(at::prompt)),
        }
    }
}

/// What the forward pass leaves for the backward pass.
pub(super) struct Kept<T, Y = T> {
    /// f32 `[2 b chunks n e]`: the state before every chunk of tokens in each direction. On the CPU its axes are in
    /// this order; kernels order the last two by the threads that read them again.
    pub states: T,
    /// `[b l e]`: y of both directions, summed, before average and gate.
    pub y: Y,
}

impl Kept<Tensor> {
    /// Room for it, with a state every `chunk` tokens.
    pub fn empty(device: &Device, dims: Dims, chunk: usize, dtype: DType) -> Self {
        let Dims { b, l, e, n, .. } = dims;
        Kept {
            states: Tensor::empty(device, &[2, b, l.div_ceil(chunk), n, e]),
            y: Tensor::empty_typed(device, dtype, &[b, l, e]),
        }
    }
}
