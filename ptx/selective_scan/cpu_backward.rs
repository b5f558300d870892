//! The scan on the CPU, backward.
//!
//! One task owns a group of channels of one image. Per direction it takes the chunks of tokens from the last
//! to the first; per chunk it goes through its blocks of channels: the chunk's states and decays are recomputed
//! from the kept state into scratch that stays in the first-level cache, then the chunk is walked back. dB and
//! dC are summed lane by lane over the blocks and over the lanes once per chunk.

use engine::simd::Simd;
use engine::simd_fn;
use rayon::prelude::*;

use super::cpu::{Block, Token, decay_rates, each_state, token};
use super::{CHUNK, Dims, Inputs};
use crate::rows::Shared;

/// Channels per task: fixed, so that the sums of dB and dC do not depend on the number of threads.
const GROUP: usize = 256;

/// Where gradients go. All written whole.
pub(super) struct Grads<'a> {
    /// `[b l 2e]`: zero in the first half, dz in the second.
    pub dxz: &'a mut [f32],
    pub du: [&'a mut [f32]; 2],
    pub ddelta: [&'a mut [f32]; 2],
    /// `[b l r+2n]`: zero in the first r columns.
    pub dx_dbl: [&'a mut [f32]; 2],
    /// `[2 b n e]`: of A, per image, only when asked.
    pub da: Option<&'a mut [f32]>,
    /// `[2 b e]`: of D, per image, only when asked.
    pub dd: Option<&'a mut [f32]>,
}

struct Out<'a> {
    dxz: Shared<'a>,
    du: [Shared<'a>; 2],
    ddelta: [Shared<'a>; 2],
    /// `[2 groups b l 2n]`: of B and C, per group of channels.
    dbc: Shared<'a>,
    da: Option<Shared<'a>>,
    dd: Option<Shared<'a>>,
}

pub(super) fn backward(dims: Dims, inputs: &Inputs, states: &[f32], dout: &[f32], grads: Grads) {
    let Dims { b, l, e, n, .. } = dims;
    let a2 = decay_rates(dims, inputs.a_log);
    let groups = e.div_ceil(GROUP);
    let mut dbc = vec![0.0; 2 * groups * b * l * 2 * n];
    let out = Out {
        dxz: Shared::new(grads.dxz),
        du: grads.du.map(Shared::new),
        ddelta: grads.ddelta.map(Shared::new),
        dbc: Shared::new(&mut dbc),
        da: grads.da.map(Shared::new),
        dd: grads.dd.map(Shared::new),
    };
    (0..b * groups).into_par_iter().for_each(|task| {
        let group =
            Group { dims, inputs, a2: &a2, states, dout, b: task / groups, group: task % groups, groups };
        run_group(&group, &out);
    });
    for (dir, dx_dbl) in grads.dx_dbl.into_iter().enumerate() {
        let all = groups * b * l * 2 * n;
        sum_groups(dims, &dbc[dir * all..(dir + 1) * all], dx_dbl);
    }
}

/// Adds the groups' dB and dC in order into the last 2n columns of `dx_dbl`; the others become zero.
fn sum_groups(dims: Dims, dbc: &[f32], dx_dbl: &mut [f32]) {
    let (cols, width) = (2 * dims.n, dims.r + 2 * dims.n);
    let one = dims.b * dims.l * cols;
    dx_dbl.par_chunks_mut(width).enumerate().for_each(|(row, to)| {
        to.fill(0.0);
        for group in dbc.chunks_exact(one) {
            let from = &group[row * cols..(row + 1) * cols];
            to[dims.r..].iter_mut().zip(from).for_each(|(t, f)| *t += f);
        }
    });
}

/// dA_log = A dA from the per-image sums `da [b n e]`; added to `grad [e n]`.
pub(super) fn grad_a_log(dims: Dims, a_log: &[f32], da: &[f32], grad: &mut [f32]) {
    let Dims { b, e, n, .. } = dims;
    for c in 0..e {
        for i in 0..n {
            let sum: f32 = (0..b).map(|b| da[(b * n + i) * e + c]).sum();
            grad[c * n + i] += -a_log[c * n + i].exp() * sum;
        }
    }
}

struct Group<'a> {
    dims: Dims,
    inputs: &'a Inputs<'a>,
    a2: &'a [Vec<f32>; 2],
    states: &'a [f32],
    dout: &'a [f32],
    b: usize,
    group: usize,
    groups: usize,
}

/// Cache-resident working memory of a task, in vectors.
struct Work<V> {
    /// Per token of the chunk and state: the state before the token (and after the last), and its decay.
    before: Vec<V>,
    decay: Vec<V>,
    /// Per token and state: dB and dC, summed over blocks.
    db: Vec<V>,
    dc: Vec<V>,
    /// Per block and state: the gradient that flows from later tokens.
    carry: Vec<V>,
    /// Per state of a block: dA so far.
    da: Vec<V>,
}

simd_fn! {
    fn run_group<S>(s, group: &Group, out: &Out) {
        let Dims { l, e, n, .. } = group.dims;
        let (first, end) = (group.group * GROUP, ((group.group + 1) * GROUP).min(e));
        zero_x_half(group, out, first, end);
        let blocks = (end - first).div_ceil(S::LANES);
        // Vectors kept in Vecs of the vector type: aligned to the vector's size.
        let zeros = |len: usize| vec![s.splat(0.0); len];
        let mut work = Work {
            before: zeros((CHUNK + 1) * n),
            decay: zeros(CHUNK * n),
            db: zeros(CHUNK * n),
            dc: zeros(CHUNK * n),
            carry: zeros(blocks * n),
            da: zeros(if out.da.is_some() { blocks * n } else { 0 }),
        };
        for dir in 0..2 {
            work.carry.fill(s.splat(0.0));
            work.da.fill(s.splat(0.0));
            let mut dd = zeros(blocks);
            for chunk in (0..group.dims.chunks()).rev() {
                let steps = chunk * CHUNK..((chunk + 1) * CHUNK).min(l);
                work.db.fill(s.splat(0.0));
                work.dc.fill(s.splat(0.0));
                for block in 0..blocks {
                    let channel = first + block * S::LANES;
                    let at = Block {
                        dims: group.dims, inputs: group.inputs, a2: &group.a2[dir], b: group.b, channel, dir,
                    };
                    let step = Step { group, at, steps: steps.clone(), block, out };
                    let trained = out.da.is_some();
                    let sum = match (n == 16 && !trained, end - channel >= S::LANES) {
                        (true, true) => step.run::<S, 16, true>(s, &mut work),
                        (_, true) => step.run::<S, 0, true>(s, &mut work),
                        (_, false) => step.run::<S, 0, false>(s, &mut work),
                    };
                    dd[block] = s.add(dd[block], sum);
                }
                store_bc(s, group, dir, steps, &work, out);
            }
            store_parameters(s, group, dir, &work, &dd, out);
        }
    }
}

/// x gets its gradient from the convolution; this op leaves zero there.
fn zero_x_half(group: &Group, out: &Out, first: usize, end: usize) {
    let Dims { l, e, .. } = group.dims;
    for t in 0..l {
        // SAFETY: columns of this group, rows of this image: this task's own.
        unsafe { out.dxz.slice((group.b * l + t) * 2 * e + first, end - first) }.fill(0.0);
    }
}

/// Sums dB and dC of a chunk over the lanes.
#[inline(always)]
fn store_bc<S: Simd>(
    s: S,
    group: &Group,
    dir: usize,
    steps: std::ops::Range<usize>,
    work: &Work<S::V>,
    out: &Out,
) {
    let Dims { b, l, n, .. } = group.dims;
    for (row, i) in steps.enumerate() {
        let t = token(dir, i, l);
        let at = ((dir * group.groups + group.group) * b + group.b) * l + t;
        // SAFETY: this group's sums at this token: this task's own.
        let to = unsafe { out.dbc.slice(at * 2 * n, 2 * n) };
        for k in 0..n {
            to[k] = s.sum(work.db[row * n + k]);
            to[n + k] = s.sum(work.dc[row * n + k]);
        }
    }
}

/// Writes dA and dD of this image's channels.
#[inline(always)]
fn store_parameters<S: Simd>(s: S, group: &Group, dir: usize, work: &Work<S::V>, dd: &[S::V], out: &Out) {
    let Dims { b, e, n, .. } = group.dims;
    let (first, end) = (group.group * GROUP, ((group.group + 1) * GROUP).min(e));
    for (block, sum) in dd.iter().enumerate() {
        let channel = first + block * S::LANES;
        let lanes = (end - channel).min(S::LANES);
        if let Some(to) = &out.dd {
            // SAFETY: this image's and direction's sums of these channels: this task's own.
            s.write(unsafe { to.slice((dir * b + group.b) * e + channel, lanes) }, 0, *sum);
        }
        if let Some(to) = &out.da {
            for k in 0..n {
                let at = ((dir * b + group.b) * n + k) * e + channel;
                // SAFETY: as above.
                s.write(unsafe { to.slice(at, lanes) }, 0, work.da[block * n + k]);
            }
        }
    }
}

/// One block of channels in one chunk of tokens.
struct Step<'a> {
    group: &'a Group<'a>,
    at: Block<'a>,
    steps: std::ops::Range<usize>,
    block: usize,
    out: &'a Out<'a>,
}

impl Step<'_> {
    /// Returns the block's contribution to dD. With `N` 0 the state size is read at run time, and dA is
    /// summed when asked.
    #[inline(always)]
    fn run<S: Simd, const N: usize, const FULL: bool>(&self, s: S, work: &mut Work<S::V>) -> S::V {
        let dims = self.at.dims;
        let n = if N == 0 { dims.n } else { N };
        let dir = self.at.dir;
        let bias = self.at.load::<S, FULL>(s, self.at.inputs.delta_bias[dir], self.at.channel);
        let skip = self.at.load::<S, FULL>(s, self.at.inputs.d[dir], self.at.channel);
        let count = self.steps.len();
        let zero = s.splat(0.0);
        let (mut tokens, mut dys) = ([const { None }; CHUNK], [zero; CHUNK]);

        let chunk = self.steps.start / CHUNK;
        for k in 0..n {
            work.before[k] =
                self.at.load::<S, FULL>(s, self.group.states, self.at.state_at(chunk) + k * dims.e);
        }
        for i in 0..count {
            let t = token(dir, self.steps.start + i, dims.l);
            let token = self.at.token::<S, FULL>(s, t, bias);
            let y = self.recompute::<S, N, FULL>(s, n, i, &token, t, work);
            dys[i] = self.gate::<S, FULL>(s, t, s.fma(skip, token.u, y));
            tokens[i] = Some(token);
        }
        let mut dd = zero;
        for i in (0..count).rev() {
            let t = token(dir, self.steps.start + i, dims.l);
            let token = tokens[i].as_ref().expect("filled above");
            dd = s.fma(dys[i], token.u, dd);
            self.back::<S, N, FULL>(s, n, i, token, dys[i], skip, t, work);
        }
        dd
    }

    /// Keeps the state after token `i` and its decay; returns y without the skip.
    #[inline(always)]
    fn recompute<S: Simd, const N: usize, const FULL: bool>(
        &self,
        s: S,
        n: usize,
        i: usize,
        token: &Token<S::V>,
        t: usize,
        work: &mut Work<S::V>,
    ) -> S::V {
        let (bt, ct) = self.at.bc::<N>(t);
        let du = s.mul(token.delta, token.u);
        let (before, after) = work.before[i * n..(i + 2) * n].split_at_mut(n);
        let decays = &mut work.decay[i * n..(i + 1) * n];
        let mut y = s.splat(0.0);
        each_state!(N = n, k => {
            let a = self.at.load::<S, FULL>(s, self.at.a2, k * self.at.dims.e + self.at.channel);
            decays[k] = s.exp2_product(token.delta, a);
            after[k] = s.fma(decays[k], before[k], s.mul(du, s.splat(bt[k])));
            y = s.fma(after[k], s.splat(ct[k]), y);
        });
        y
    }

    /// dy from dout through gate and average; dz in two halves, as each direction's y becomes known.
    #[inline(always)]
    fn gate<S: Simd, const FULL: bool>(&self, s: S, t: usize, y: S::V) -> S::V {
        let (dims, channel) = (self.at.dims, self.at.channel);
        let row = self.at.b * dims.l + t;
        let z_at = row * 2 * dims.e + dims.e + channel;
        let z = self.at.load::<S, FULL>(s, self.at.inputs.xz, z_at);
        let dout = self.at.load::<S, FULL>(s, self.group.dout, row * dims.e + channel);
        let half = s.mul(dout, s.splat(0.5));
        let (gate, slope) = s.silu_and_grad(z);
        let mut dz = s.mul(s.mul(half, slope), y);
        if self.at.dir == 1 {
            // SAFETY: written by this task in the first direction.
            let before = unsafe { self.out.dxz.slice(z_at, (dims.e - channel).min(S::LANES)) };
            dz = s.add(dz, s.read(before, 0));
        }
        self.at.store::<S, FULL>(s, &self.out.dxz, z_at, dz);
        s.mul(half, gate)
    }

    /// One token back: the formulas of `reference::backward_state`, all states of a block at once.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn back<S: Simd, const N: usize, const FULL: bool>(
        &self,
        s: S,
        n: usize,
        i: usize,
        token: &Token<S::V>,
        dy: S::V,
        skip: S::V,
        t: usize,
        work: &mut Work<S::V>,
    ) {
        let (bt, ct) = self.at.bc::<N>(t);
        let Token { delta, raw, u } = *token;
        let du = s.mul(delta, u);
        let zero = s.splat(0.0);
        let (mut through_b, mut through_a) = (zero, zero);
        let carry = &mut work.carry[self.block * n..(self.block + 1) * n];
        let (before, after) = work.before[i * n..(i + 2) * n].split_at(n);
        let decay = &work.decay[i * n..(i + 1) * n];
        let (db, dc) = (&mut work.db[i * n..(i + 1) * n], &mut work.dc[i * n..(i + 1) * n]);
        let trained = N == 0 && !work.da.is_empty();
        let da = if trained { &mut work.da[self.block * n..(self.block + 1) * n] } else { &mut [] };
        for k in 0..n {
            let a = self.at.load::<S, FULL>(s, self.at.a2, k * self.at.dims.e + self.at.channel);
            let grad = s.fma(dy, s.splat(ct[k]), carry[k]);
            dc[k] = s.fma(dy, after[k], dc[k]);
            db[k] = s.fma(grad, du, db[k]);
            through_b = s.fma(grad, s.splat(bt[k]), through_b);
            carry[k] = s.mul(grad, decay[k]);
            let decayed = s.mul(carry[k], before[k]);
            through_a = s.fma(decayed, a, through_a);
            if trained {
                da[k] = s.fma(decayed, delta, da[k]);
            }
        }
        // The rates carry log2(e); the derivative does not.
        let ddelta = s.fma(through_a, s.splat(std::f32::consts::LN_2), s.mul(u, through_b));
        let at = (self.at.b * self.at.dims.l + t) * self.at.dims.e + self.at.channel;
        let dir = self.at.dir;
        self.at.store::<S, FULL>(s, &self.out.ddelta[dir], at, s.mul(ddelta, s.softplus_grad(raw)));
        self.at.store::<S, FULL>(s, &self.out.du[dir], at, s.fma(delta, through_b, s.mul(skip, dy)));
    }
}
