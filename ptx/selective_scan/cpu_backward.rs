//! The scan on the CPU, backward.
//!
//! One task owns a group of channels of one image. In each direction it takes the chunks of tokens from the last of its
//! walk to the first. In a chunk it goes through its blocks of channels, and for each state once forth, to compute
//! states and decays again from the kept state, and once back. dB and dC are summed lane by lane over the blocks, and
//! over the lanes at the end of the chunk; these sums stay in the first-level cache.

use std::array::from_fn;

use engine::simd::{Simd, prefetch};
use engine::{Element, simd_fn};
use rayon::prelude::*;

use super::call::{Dims, Inputs, Kept, MAX_STATE};
use super::cpu::{Block, CHUNK, Chunk, chunks, decay_rates, token};
use crate::disjoint::Disjoint;

/// Channels of a task. Their number is fixed, so that the sums of dB and dC do not depend on the number of threads.
const GROUP: usize = 256;

/// Where gradients go.
pub(super) struct Grads<'a, E> {
    /// `[b l 2e]`: dz goes to the second half, and the first is left alone.
    pub dxz: &'a mut [E],
    /// `[b l e]`
    pub du: [&'a mut [E]; 2],
    /// `[b l e]`
    pub ddelta: [&'a mut [E]; 2],
    /// `[b l r+2n]`: dB and dC go to the last 2n columns, and the others are left alone.
    pub dx_dbl: [&'a mut [E]; 2],
    /// `[2 b n e]`: the gradient of A, image by image, when asked for.
    pub da: Option<&'a mut [f32]>,
    /// `[2 b e]`: the gradient of D, image by image, when asked for.
    pub dd: Option<&'a mut [f32]>,
}

/// [`Grads`], shared by the tasks.
struct Out<'a, E> {
    dxz: Disjoint<'a, E>,
    du: [Disjoint<'a, E>; 2],
    ddelta: [Disjoint<'a, E>; 2],
    /// `[2 groups b l 2n]`: dB and dC of each group of channels.
    dbc: Disjoint<'a>,
    da: Option<Disjoint<'a>>,
    dd: Option<Disjoint<'a>>,
}

/// Writes all of `grads`.
pub(super) fn backward<E: Element>(
    dims: Dims,
    inputs: &Inputs<E>,
    kept: Kept<&[f32], &[E]>,
    dout: &[E],
    grads: Grads<E>,
) {
    let Dims { b, l, e, n, .. } = dims;
    let a2 = decay_rates(dims, inputs.a_log);
    let groups = e.div_ceil(GROUP);
    let mut dbc = vec![0.0; 2 * groups * b * l * 2 * n];
    let out = Out {
        dxz: Disjoint::new(grads.dxz),
        du: grads.du.map(Disjoint::new),
        ddelta: grads.ddelta.map(Disjoint::new),
        dbc: Disjoint::new(&mut dbc),
        da: grads.da.map(Disjoint::new),
        dd: grads.dd.map(Disjoint::new),
    };
    (0..b * groups).into_par_iter().for_each(|task| {
        let group = Group {
            dims,
            inputs,
            a2: &a2,
            kept: &kept,
            dout,
            b: task / groups,
            group: task % groups,
            groups,
        };
        run_group(&group, &out);
    });
    for (dir, dx_dbl) in grads.dx_dbl.into_iter().enumerate() {
        let all = groups * b * l * 2 * n;
        sum_groups(dims, &dbc[dir * all..(dir + 1) * all], dx_dbl);
    }
}

/// Writes dB and dC of all groups, added in order, to the last 2n columns of `dx_dbl`.
fn sum_groups<E: Element>(dims: Dims, dbc: &[f32], dx_dbl: &mut [E]) {
    let (cols, width) = (2 * dims.n, dims.r + 2 * dims.n);
    let one = dims.b * dims.l * cols;
    dx_dbl.par_chunks_mut(width).enumerate().for_each(|(row, to)| {
        let mut sums = [0.0; 2 * MAX_STATE];
        for group in dbc.chunks_exact(one) {
            let from = &group[row * cols..(row + 1) * cols];
            sums.iter_mut().zip(from).for_each(|(s, f)| *s += f);
        }
        to[dims.r..].iter_mut().zip(sums).for_each(|(t, s)| *t = E::from_f32(s));
    });
}

/// Adds `dA_log = A dA` to `grad [e n]`, from the images' `da [b n e]`.
pub(super) fn grad_a_log(dims: Dims, a_log: &[f32], da: &[f32], grad: &mut [f32]) {
    let Dims { b, e, n, .. } = dims;
    for c in 0..e {
        for i in 0..n {
            let sum: f32 = (0..b).map(|b| da[(b * n + i) * e + c]).sum();
            grad[c * n + i] += -a_log[c * n + i].exp() * sum;
        }
    }
}

/// A task: one group of channels of one image.
struct Group<'a, E> {
    dims: Dims,
    inputs: &'a Inputs<'a, E>,
    a2: &'a [Vec<f32>; 2],
    kept: &'a Kept<&'a [f32], &'a [E]>,
    dout: &'a [E],
    b: usize,
    group: usize,
    groups: usize,
}

/// B and C of every step of a chunk, by state.
type StateBc = [[[f32; 2]; CHUNK]; MAX_STATE];

impl<E: Element> Block<'_, E> {
    /// Copies B and C of a chunk's steps by state, in the order in which the loops over states read them.
    #[inline(always)]
    fn state_bc(&self, chunk: usize, to: &mut StateBc) {
        let (n, r) = (self.dims.n, self.dims.r);
        let rows = self.rows(chunk).0.map(|row| {
            let at = row * (r + 2 * n) + r;
            self.inputs.x_dbl[self.dir][at..at + 2 * n].split_at(n)
        });
        for (k, to) in to[..n].iter_mut().enumerate() {
            *to = rows.map(|(b, c)| [b[k].to_f32(), c[k].to_f32()]);
        }
    }
}

/// Working memory of a task, in vectors.
struct Work<V> {
    /// dB and dC of each state and step of the chunk, summed over blocks. Side by side they are faster than in two
    /// tables.
    dbc: Vec<[[V; 2]; CHUNK]>,
    /// The gradient that flows from later tokens, of each block and state.
    carry: Vec<V>,
    /// dA so far, of each block and state, when asked for.
    da: Vec<V>,
    /// dD so far, of each block.
    dd: Vec<V>,
}

simd_fn! {
    fn run_group<S, E>(s, group: &Group<E>, out: &Out<E>) {
        let Dims { l, e, n, .. } = group.dims;
        let (first, end) = (group.group * GROUP, ((group.group + 1) * GROUP).min(e));
        let blocks = (end - first).div_ceil(S::LANES);
        // A Vec of vectors is aligned to their size.
        let zero = s.splat(0.0);
        let zeros = |len: usize| vec![zero; len];
        let trained = out.da.is_some();
        let mut work = Work {
            dbc: vec![[[zero; 2]; CHUNK]; n],
            carry: zeros(blocks * n),
            da: zeros(if trained { blocks * n } else { 0 }),
            dd: zeros(blocks),
        };
        let mut bc: StateBc = [[[0.0; 2]; CHUNK]; MAX_STATE];
        for dir in 0..2 {
            work.carry.fill(zero);
            work.da.fill(zero);
            work.dd.fill(zero);
            for chunk in (0..chunks(group.dims)).rev() {
                work.dbc.fill([[zero; 2]; CHUNK]);
                let block_at = |channel| Block {
                    dims: group.dims, inputs: group.inputs, a2: &group.a2[dir], b: group.b, channel, dir,
                };
                block_at(first).state_bc(chunk, &mut bc);
                for block in 0..blocks {
                    let channel = first + block * S::LANES;
                    let at = block_at(channel);
                    let step = Step { group, at, chunk, block, out };
                    match (trained, end - channel >= S::LANES) {
                        (false, true) => step.run::<S, false, true>(s, &bc, &mut work),
                        (true, true) => step.run::<S, true, true>(s, &bc, &mut work),
                        (false, false) => step.run::<S, false, false>(s, &bc, &mut work),
                        (true, false) => step.run::<S, true, false>(s, &bc, &mut work),
                    }
                }
                store_bc(s, group, dir, chunk * CHUNK..((chunk + 1) * CHUNK).min(l), &work, out);
            }
            store_parameters(s, group, dir, &work, out);
        }
        s.fence();
    }
}

/// Writes dB and dC of a chunk, summed over the lanes.
#[inline(always)]
fn store_bc<S: Simd, E>(
    s: S,
    group: &Group<E>,
    dir: usize,
    steps: std::ops::Range<usize>,
    work: &Work<S::V>,
    out: &Out<E>,
) {
    let Dims { b, l, n, .. } = group.dims;
    for (row, i) in steps.enumerate() {
        let t = token(dir, i, l);
        let at = ((dir * group.groups + group.group) * b + group.b) * l + t;
        // SAFETY: this group's sums at this token: this task's own.
        let to = unsafe { out.dbc.slice(at * 2 * n, 2 * n) };
        for k in 0..n {
            to[k] = s.sum(work.dbc[k][row][0]);
            to[n + k] = s.sum(work.dbc[k][row][1]);
        }
    }
}

/// Writes dA and dD of this image's channels, where they are asked for.
#[inline(always)]
fn store_parameters<S: Simd, E>(s: S, group: &Group<E>, dir: usize, work: &Work<S::V>, out: &Out<E>) {
    let Dims { b, e, n, .. } = group.dims;
    let (first, end) = (group.group * GROUP, ((group.group + 1) * GROUP).min(e));
    for (block, sum) in work.dd.iter().enumerate() {
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
struct Step<'a, E> {
    group: &'a Group<'a, E>,
    at: Block<'a, E>,
    chunk: usize,
    block: usize,
    out: &'a Out<'a, E>,
}

/// Where the inputs of the next block are.
struct Next {
    rows: [usize; CHUNK],
    channel: usize,
    /// The place of its state 0 before the chunk.
    states: usize,
}

/// The sums over states of which a chunk's gradients are made; G is the gradient of a state.
struct Sums<V> {
    /// `sum_n G B`
    through_b: [V; CHUNK],
    /// `sum_n G decay s A`, with the state s before the token and the `log2(e)` of A
    through_a: [V; CHUNK],
}

impl<E: Element> Step<'_, E> {
    #[inline(always)]
    fn run<S: Simd, const TRAINED: bool, const FULL: bool>(&self, s: S, bc: &StateBc, work: &mut Work<S::V>) {
        let dims = self.at.dims;
        let dir = self.at.dir;
        let bias = self.at.load::<S, FULL>(s, self.at.inputs.delta_bias[dir], self.at.channel);
        let skip = self.at.load::<S, FULL>(s, self.at.inputs.d[dir], self.at.channel);
        let chunk = self.at.chunk::<S, FULL>(s, self.chunk, bias);
        let zero = [s.splat(0.0); CHUNK];

        let mut dy = zero;
        for i in 0..chunk.count {
            dy[i] = self.gate::<S, FULL>(s, chunk.rows[i]);
        }
        let mut sums = Sums { through_b: zero, through_a: zero };
        let next = self.next::<S>(chunk.rows);
        // Two states share the loads and stores of what belongs to a token.
        for k in (0..dims.n - dims.n % 2).step_by(2) {
            self.ahead(&next, k);
            self.states::<S, TRAINED, FULL, 2>(s, k, &chunk, bc, &dy, &mut sums, work);
        }
        if dims.n % 2 == 1 {
            self.states::<S, TRAINED, FULL, 1>(s, dims.n - 1, &chunk, bc, &dy, &mut sums, work);
        }
        for i in 0..chunk.count {
            let (u, at) = (chunk.u[i], chunk.rows[i] * dims.e + self.at.channel);
            // The rates carry log2(e); the derivative does not.
            let through_a = s.mul(sums.through_a[i], s.splat(std::f32::consts::LN_2));
            let ddelta = s.mul(s.fma(u, sums.through_b[i], through_a), chunk.slope[i]);
            let du = s.fma(chunk.delta[i], sums.through_b[i], s.mul(skip, dy[i]));
            self.at.stream::<S, FULL>(s, &self.out.ddelta[dir], at, ddelta);
            self.at.stream::<S, FULL>(s, &self.out.du[dir], at, du);
            work.dd[self.block] = s.fma(dy[i], u, work.dd[self.block]);
        }
    }

    /// The block after this one: the next channels, or the first channels of the group in the chunk before.
    #[inline(always)]
    fn next<S: Simd>(&self, rows: [usize; CHUNK]) -> Next {
        let channel = self.at.channel + S::LANES;
        let group = self.group.group * GROUP;
        if channel < (group + GROUP).min(self.at.dims.e) || self.chunk == 0 {
            return Next { rows, channel, states: self.at.state_at(self.chunk) + S::LANES };
        }
        let states = self.at.state_at(self.chunk - 1) + group - self.at.channel;
        Next { rows: self.at.rows(self.chunk - 1).0, channel: group, states }
    }

    /// Prefetches what the next block needs: states `k` and `k + 1`, and the inputs of one row. It is called between
    /// states, for the same reason as [`Block`]'s in the forward pass.
    #[inline(always)]
    fn ahead(&self, next: &Next, k: usize) {
        let (e, dir, inputs) = (self.at.dims.e, self.at.dir, self.at.inputs);
        prefetch(self.group.kept.states, next.states + k * e);
        prefetch(self.group.kept.states, next.states + (k + 1) * e);
        if let Some(row) = next.rows.get(k / 2) {
            let at = row * e + next.channel;
            for from in [inputs.u[dir], inputs.delta[dir], self.group.dout, self.group.kept.y] {
                prefetch(from, at);
            }
            prefetch(inputs.xz, at + (row + 1) * e);
        }
    }

    /// Takes states `first..first + K` through the chunk and back, by the formulas of `reference::backward_state`.
    #[inline(always)]
    fn states<S: Simd, const TRAINED: bool, const FULL: bool, const K: usize>(
        &self,
        s: S,
        first: usize,
        chunk: &Chunk<S::V>,
        bc: &StateBc,
        dy: &[S::V; CHUNK],
        sums: &mut Sums<S::V>,
        work: &mut Work<S::V>,
    ) {
        let Dims { e, n, .. } = self.at.dims;
        assert!(first + K <= n && n <= MAX_STATE);
        let a: [_; K] =
            from_fn(|k| self.at.load::<S, FULL>(s, self.at.a2, (first + k) * e + self.at.channel));
        let kept = self.at.state_at(self.chunk) + first * e;
        let before: [_; K] = from_fn(|k| self.at.load::<S, FULL>(s, self.group.kept.states, kept + k * e));
        let bc = &bc[first..first + K];
        // The states before the chunk and after each of its steps.
        let (mut decay, mut states) = ([before; CHUNK], [before; CHUNK + 1]);
        for i in 0..CHUNK {
            for k in 0..K {
                decay[i][k] = s.exp2_product(chunk.delta[i], a[k]);
                let gain = s.mul(chunk.du[i], s.splat(bc[k][i][0]));
                states[i + 1][k] = s.fma(decay[i][k], states[i][k], gain);
            }
        }
        let at = self.block * n + first;
        let mut carry: [_; K] = from_fn(|k| work.carry[at + k]);
        let dbc = &mut work.dbc[first..first + K];
        for i in (0..CHUNK).rev() {
            for k in 0..K {
                let grad = s.fma(dy[i], s.splat(bc[k][i][1]), carry[k]);
                dbc[k][i][1] = s.fma(dy[i], states[i + 1][k], dbc[k][i][1]);
                dbc[k][i][0] = s.fma(grad, chunk.du[i], dbc[k][i][0]);
                sums.through_b[i] = s.fma(grad, s.splat(bc[k][i][0]), sums.through_b[i]);
                carry[k] = s.mul(grad, decay[i][k]);
                let decayed = s.mul(carry[k], states[i][k]);
                sums.through_a[i] = s.fma(decayed, a[k], sums.through_a[i]);
                if TRAINED {
                    work.da[at + k] = s.fma(decayed, chunk.delta[i], work.da[at + k]);
                }
            }
        }
        work.carry[at..at + K].copy_from_slice(&carry);
    }

    /// dy, from dout through average and gate. In the first direction it also writes dz, from the y that was kept.
    #[inline(always)]
    fn gate<S: Simd, const FULL: bool>(&self, s: S, row: usize) -> S::V {
        let (e, channel) = (self.at.dims.e, self.at.channel);
        let (at, z_at) = (row * e + channel, (2 * row + 1) * e + channel);
        let z = self.at.load::<S, FULL>(s, self.at.inputs.xz, z_at);
        let half = s.mul(self.at.load::<S, FULL>(s, self.group.dout, at), s.splat(0.5));
        if self.at.dir == 1 {
            return s.mul(half, s.silu(z));
        }
        let (gate, slope) = s.silu_and_grad(z);
        let y = self.at.load::<S, FULL>(s, self.group.kept.y, at);
        self.at.store::<S, FULL>(s, &self.out.dxz, z_at, s.mul(s.mul(half, slope), y));
        s.mul(half, gate)
    }
}
