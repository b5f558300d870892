//! The scan on the CPU, forward.
//!
//! One task walks a group of channels of one image through all tokens, first from the start and then from the end,
//! [`CHUNK`] tokens at a time, one block of `LANES` channels after the other. So rows are read a group at a time, and
//! the states stay in the first-level cache. The decays of a chunk do not depend on each other; they keep the
//! arithmetic units busy while the recurrence runs through them. Bound by the exponentials, one for each token, channel
//! and state; memory takes a tenth of their time.

use std::f32::consts::LOG2_E;

use engine::simd::{Simd, prefetch};
use engine::{Element, simd_fn};
use rayon::prelude::*;

use super::call::{Dims, Inputs, Kept, MAX_STATE};
use crate::disjoint::Disjoint;

/// Tokens between two kept states.
pub(super) const CHUNK: usize = 8;

/// Channels of a task.
const GROUP: usize = 128;

/// `A log2(e)` of both directions, transposed to `[n e]`, as the loops want it.
pub(super) fn decay_rates(dims: Dims, a_log: [&[f32]; 2]) -> [Vec<f32>; 2] {
    a_log.map(|a_log| {
        let mut a2 = vec![0.0; dims.n * dims.e];
        a2.par_chunks_mut(dims.e).enumerate().for_each(|(n, row)| {
            for (channel, a2) in row.iter_mut().enumerate() {
                *a2 = -a_log[channel * dims.n + n].exp() * LOG2_E;
            }
        });
        a2
    })
}

/// The token that the walk of a direction visits at step `i`.
#[inline(always)]
pub(super) fn token(dir: usize, i: usize, l: usize) -> usize {
    if dir == 0 { i } else { l - 1 - i }
}

/// Chunks of a walk.
pub(super) fn chunks(dims: Dims) -> usize {
    dims.l.div_ceil(CHUNK)
}

/// Writes `out`, and what is kept when asked.
pub(super) fn forward<E: Element>(
    dims: Dims,
    inputs: &Inputs<E>,
    out: &mut [E],
    keep: Option<Kept<&mut [f32], &mut [E]>>,
) {
    let a2 = decay_rates(dims, inputs.a_log);
    let out = Disjoint::new(out);
    let keep = keep.map(|keep| Kept { states: Disjoint::new(keep.states), y: Disjoint::new(keep.y) });
    let groups = dims.e.div_ceil(GROUP);
    let room = || vec![0.0; dims.l * GROUP];
    (0..dims.b * groups).into_par_iter().for_each_init(room, |y, task| {
        let (b, first) = (task / groups, task % groups * GROUP);
        let end = (first + GROUP).min(dims.e);
        forward_group(dims, inputs, &a2, b, first, end, y, &out, keep.as_ref());
    });
}

simd_fn! {
    /// Walks channels `first..end` of image `b`; `y [l GROUP]` is room for what the first direction leaves to the second.
    fn forward_group<S, E>(
        s,
        dims: Dims,
        inputs: &Inputs<E>,
        a2: &[Vec<f32>; 2],
        b: usize,
        first: usize,
        end: usize,
        y: &mut [f32],
        out: &Disjoint<E>,
        keep: Option<&Kept<Disjoint, Disjoint<E>>>,
    ) {
        let mut states = vec![s.splat(0.0); (end - first).div_ceil(S::LANES) * dims.n];
        let mut bc: StepBc = [[0.0; 2 * MAX_STATE]; CHUNK];
        for dir in 0..2 {
            states.fill(s.splat(0.0));
            for number in 0..chunks(dims) {
                let block = |channel| Block { dims, inputs, a2: &a2[dir], b, channel, dir };
                block(first).copy_bc(s, number, &mut bc);
                for (i, states) in states.chunks_exact_mut(dims.n).enumerate() {
                    let channel = first + i * S::LANES;
                    if end - channel >= S::LANES {
                        block(channel).forward::<S, true>(s, number, &bc, states, y, out, keep);
                    } else {
                        block(channel).forward::<S, false>(s, number, &bc, states, y, out, keep);
                    }
                }
            }
        }
        s.fence();
    }
}

/// A block of channels of one image in one direction.
pub(super) struct Block<'a, E> {
    pub dims: Dims,
    pub inputs: &'a Inputs<'a, E>,
    pub a2: &'a [f32],
    pub b: usize,
    pub channel: usize,
    pub dir: usize,
}

/// The inputs of a block in one chunk, in the order of the walk. Steps beyond the last token are zero, so they leave
/// the state and every sum as they are.
pub(super) struct Chunk<V> {
    /// The row of each step; steps beyond the last token repeat its row.
    pub rows: [usize; CHUNK],
    /// Steps that exist.
    pub count: usize,
    /// `softplus(delta + bias)`
    pub delta: [V; CHUNK],
    /// The derivative of that; the compiler leaves it out where it is not used.
    pub slope: [V; CHUNK],
    /// u, with its prompt.
    pub u: [V; CHUNK],
    /// `delta u`
    pub du: [V; CHUNK],
}

/// B and then C of every step of a chunk, `2n` values in each row.
pub(super) type StepBc = [[f32; 2 * MAX_STATE]; CHUNK];

impl<E: Element> Block<'_, E> {
    /// Loads a block at `at`. With `FULL` all its lanes exist.
    #[inline(always)]
    pub fn load<S: Simd, const FULL: bool>(&self, s: S, from: &[impl Element], at: usize) -> S::V {
        if FULL {
            debug_assert!(at + S::LANES <= from.len());
            // SAFETY: shapes are checked by the op: a full block at a token of an existing channel.
            unsafe { Element::load(s, from.as_ptr().add(at)) }
        } else {
            // The lanes beyond the end of the row belong to the next row, so they are not read.
            s.read(&from[..at + (self.dims.e - self.channel).min(S::LANES)], at)
        }
    }

    /// Stores a block at `at`.
    #[inline(always)]
    pub fn store<S: Simd, const FULL: bool>(&self, s: S, to: &Disjoint<impl Element>, at: usize, v: S::V) {
        let lanes = if FULL { S::LANES } else { (self.dims.e - self.channel).min(S::LANES) };
        // SAFETY: channels of one image and direction belong to one task.
        let to = unsafe { to.slice(at, lanes) };
        s.write(to, 0, v);
    }

    /// [`Block::store`] past the caches, for what is read again only after much else.
    #[inline(always)]
    pub fn stream<S: Simd, const FULL: bool>(&self, s: S, to: &Disjoint<impl Element>, at: usize, v: S::V) {
        if FULL {
            // SAFETY: a full block of existing channels, which belong to this task alone.
            unsafe { Element::stream(s, to.slice(at, S::LANES).as_mut_ptr(), v) }
        } else {
            self.store::<S, FULL>(s, to, at, v);
        }
    }

    /// The row of each step of chunk number `chunk`, and how many steps exist. Those beyond the last token repeat its
    /// row.
    #[inline(always)]
    pub fn rows(&self, chunk: usize) -> ([usize; CHUNK], usize) {
        let (l, first) = (self.dims.l, chunk * CHUNK);
        let count = (l - first).min(CHUNK);
        (std::array::from_fn(|i| self.b * l + token(self.dir, first + i.min(count - 1), l)), count)
    }

    /// Loads chunk number `chunk` of the walk.
    #[inline(always)]
    pub fn chunk<S: Simd, const FULL: bool>(&self, s: S, chunk: usize, bias: S::V) -> Chunk<S::V> {
        let zero = [s.splat(0.0); CHUNK];
        let (rows, count) = self.rows(chunk);
        let mut of = Chunk { rows, count, delta: zero, slope: zero, u: zero, du: zero };
        for i in 0..count {
            let at = rows[i] * self.dims.e + self.channel;
            let raw = s.add(self.load::<S, FULL>(s, self.inputs.delta[self.dir], at), bias);
            of.u[i] = self.load::<S, FULL>(s, self.inputs.u[self.dir], at);
            if let Some(prompts) = self.inputs.prompts {
                of.u[i] = s.add(of.u[i], self.load::<S, FULL>(s, prompts[self.dir], at));
            }
            (of.delta[i], of.slope[i]) = s.softplus_and_grad(raw);
            of.du[i] = s.mul(of.delta[i], of.u[i]);
        }
        of
    }

    /// Prefetches the inputs of one row, since rows lie too far apart for the processor to guess. It is called between
    /// states: many requests at once would fill the queue of the cache and hold up the arithmetic behind it.
    #[inline(always)]
    fn ahead(&self, row: usize) {
        let at = row * self.dims.e + self.channel;
        prefetch(self.inputs.u[self.dir], at);
        prefetch(self.inputs.delta[self.dir], at);
        prefetch(self.inputs.xz, at + (row + 1) * self.dims.e);
    }

    /// Copies B and C of a chunk's steps into one small table, from which the loops over states read them without
    /// address arithmetic and without bounds checks.
    #[inline(always)]
    pub fn copy_bc<S: Simd>(&self, s: S, chunk: usize, to: &mut StepBc) {
        let (n, r) = (self.dims.n, self.dims.r);
        for (to, row) in to.iter_mut().zip(self.rows(chunk).0) {
            let at = row * (r + 2 * n) + r;
            let from = &self.inputs.x_dbl[self.dir][at..at + 2 * n];
            (0..2 * n).step_by(S::LANES).for_each(|i| s.write(to, i, s.read(from, i)));
        }
    }

    /// The place of state 0 of this block before a chunk in `states`.
    pub fn state_at(&self, chunk: usize) -> usize {
        (((self.dir * self.dims.b + self.b) * chunks(self.dims) + chunk) * self.dims.n) * self.dims.e
            + self.channel
    }

    /// Walks one block through one chunk; `states` holds its n states.
    #[inline(always)]
    fn forward<S: Simd, const FULL: bool>(
        &self,
        s: S,
        number: usize,
        bc: &StepBc,
        states: &mut [S::V],
        first_y: &mut [f32],
        out: &Disjoint<E>,
        keep: Option<&Kept<Disjoint, Disjoint<E>>>,
    ) {
        let Dims { e, n, .. } = self.dims;
        let bias = self.load::<S, FULL>(s, self.inputs.delta_bias[self.dir], self.channel);
        let skip = self.load::<S, FULL>(s, self.inputs.d[self.dir], self.channel);
        let (next, _) = self.rows((number + 1).min(chunks(self.dims) - 1));
        let chunk = self.chunk::<S, FULL>(s, number, bias);
        let mut y = chunk.u.map(|u| s.mul(skip, u));
        for (k, state) in states.iter_mut().enumerate().take(MAX_STATE) {
            if let Some(Kept { states: kept, .. }) = keep {
                self.stream::<S, FULL>(s, kept, self.state_at(number) + k * e, *state);
            }
            if let Some(&row) = next.get(k) {
                self.ahead(row);
            }
            let a = self.load::<S, FULL>(s, self.a2, k * e + self.channel);
            let mut now = *state;
            for i in 0..CHUNK {
                let decay = s.exp2_product(chunk.delta[i], a);
                now = s.fma(decay, now, s.mul(chunk.du[i], s.splat(bc[i][k])));
                y[i] = s.fma(now, s.splat(bc[i][n + k]), y[i]);
            }
            *state = now;
        }
        for i in 0..chunk.count {
            self.finish::<S, FULL>(s, chunk.rows[i], y[i], first_y, out, keep);
        }
    }

    /// The first direction leaves y in `first_y`; the second adds its own, halves and gates.
    #[inline(always)]
    fn finish<S: Simd, const FULL: bool>(
        &self,
        s: S,
        row: usize,
        y: S::V,
        first_y: &mut [f32],
        out: &Disjoint<E>,
        keep: Option<&Kept<Disjoint, Disjoint<E>>>,
    ) {
        let Dims { l, e, .. } = self.dims;
        let in_group = (row - self.b * l) * GROUP + self.channel % GROUP;
        if self.dir == 0 {
            return s.write(first_y, in_group, y);
        }
        let y = s.add(s.read(first_y, in_group), y);
        let at = row * e + self.channel;
        if let Some(Kept { y: kept, .. }) = keep {
            self.stream::<S, FULL>(s, kept, at, y);
        }
        let z = self.load::<S, FULL>(s, self.inputs.xz, at + (row + 1) * e);
        self.store::<S, FULL>(s, out, at, s.mul(s.mul(y, s.splat(0.5)), s.silu(z)));
    }
}
