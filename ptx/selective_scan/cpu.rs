//! The scan on the CPU, forward.
//!
//! One task walks a block of `LANES` channels of one image through all tokens, first forwards, then backwards,
//! [`CHUNK`] tokens at a time: per state, the chunk's decays are independent of each other and keep the
//! arithmetic units busy while the recurrence runs through them. Bound: the exponentials, one per token,
//! channel and state; memory traffic is a tenth of that.

use engine::simd::{Simd, prefetch};
use engine::simd_fn;
use rayon::prelude::*;

use super::{CHUNK, Dims, Inputs, MAX_STATE};
use crate::rows::Shared;

/// Channels per task.
const GROUP: usize = 128;

/// Parameters as the loops want them: `A log2(e)`, transposed to `[n e]`, for both directions.
pub(super) fn decay_rates(dims: Dims, a_log: [&[f32]; 2]) -> [Vec<f32>; 2] {
    a_log.map(|a_log| {
        let mut a2 = vec![0.0; dims.n * dims.e];
        for (channel, row) in a_log.chunks_exact(dims.n).enumerate() {
            for (n, a_log) in row.iter().enumerate() {
                a2[n * dims.e + channel] = -a_log.exp() * std::f32::consts::LOG2_E;
            }
        }
        a2
    })
}

/// The token that the walk of a direction visits at step `i`.
#[inline(always)]
pub(super) fn token(dir: usize, i: usize, l: usize) -> usize {
    if dir == 0 { i } else { l - 1 - i }
}

/// What the backward pass starts from.
pub(super) struct Kept<T> {
    /// `[2 b chunks n e]`: the state before every chunk.
    pub states: T,
    /// `[b l e]`: y of both directions, summed, before average and gate.
    pub y: T,
}

/// Writes `out`, and what is kept when asked.
pub(super) fn forward(dims: Dims, inputs: &Inputs, out: &mut [f32], keep: Option<Kept<&mut [f32]>>) {
    let a2 = decay_rates(dims, inputs.a_log);
    let out = Shared::new(out);
    let keep = keep.map(|keep| Kept { states: Shared::new(keep.states), y: Shared::new(keep.y) });
    let groups = dims.e.div_ceil(GROUP);
    (0..dims.b * groups).into_par_iter().for_each(|task| {
        let (b, first) = (task / groups, task % groups * GROUP);
        let end = (first + GROUP).min(dims.e);
        forward_group(dims, inputs, &a2, b, first, end, &out, keep.as_ref());
    });
}

simd_fn! {
    fn forward_group<S>(
        s,
        dims: Dims,
        inputs: &Inputs,
        a2: &[Vec<f32>; 2],
        b: usize,
        first: usize,
        end: usize,
        out: &Shared,
        keep: Option<&Kept<Shared>>,
    ) {
        for channel in (first..end).step_by(S::LANES) {
            for dir in 0..2 {
                let block = Block { dims, inputs, a2: &a2[dir], b, channel, dir };
                if end - channel >= S::LANES {
                    block.forward::<S, true>(s, out, keep);
                } else {
                    block.forward::<S, false>(s, out, keep);
                }
            }
        }
        s.fence();
    }
}

/// A block of channels of one image in one direction.
pub(super) struct Block<'a> {
    pub dims: Dims,
    pub inputs: &'a Inputs<'a>,
    pub a2: &'a [f32],
    pub b: usize,
    pub channel: usize,
    pub dir: usize,
}

/// The inputs of a block in one chunk, in the order of the walk. Steps beyond the last token are zero: they
/// leave the state and every sum as they are.
pub(super) struct Chunk<V> {
    /// The token of each step; steps beyond the last repeat one.
    pub tokens: [usize; CHUNK],
    /// Steps that exist.
    pub count: usize,
    /// softplus(delta + bias)
    pub delta: [V; CHUNK],
    /// Its derivative; the compiler leaves it out where it is not used.
    pub slope: [V; CHUNK],
    pub u: [V; CHUNK],
    /// delta u
    pub du: [V; CHUNK],
}

impl Block<'_> {
    /// Loads a block at `at`; `FULL` says that all lanes exist.
    #[inline(always)]
    pub fn load<S: Simd, const FULL: bool>(&self, s: S, from: &[f32], at: usize) -> S::V {
        if FULL {
            debug_assert!(at + S::LANES <= from.len());
            // SAFETY: shapes are checked by the op: a full block at a token of an existing channel.
            unsafe { s.load(from.as_ptr().add(at)) }
        } else {
            // A block at the end of a row: the lanes beyond it are another row's, so only these are read.
            s.read(&from[..at + (self.dims.e - self.channel).min(S::LANES)], at)
        }
    }

    /// Stores a block at `at` of a buffer that other tasks write elsewhere.
    #[inline(always)]
    pub fn store<S: Simd, const FULL: bool>(&self, s: S, to: &Shared, at: usize, v: S::V) {
        let lanes = if FULL { S::LANES } else { (self.dims.e - self.channel).min(S::LANES) };
        // SAFETY: channels of one image and direction belong to one task.
        let to = unsafe { to.slice(at, lanes) };
        s.write(to, 0, v);
    }

    /// [`Block::store`] past the caches, of what is read again only after much else.
    #[inline(always)]
    pub fn keep<S: Simd, const FULL: bool>(&self, s: S, to: &Shared, at: usize, v: S::V) {
        if FULL {
            // SAFETY: a full block of existing channels, which belong to this task alone.
            unsafe { s.stream(to.slice(at, S::LANES).as_mut_ptr(), v) }
        } else {
            self.store::<S, FULL>(s, to, at, v);
        }
    }

    /// Loads chunk number `chunk` of the walk.
    #[inline(always)]
    pub fn chunk<S: Simd, const FULL: bool>(&self, s: S, chunk: usize, bias: S::V) -> Chunk<S::V> {
        let (l, first) = (self.dims.l, chunk * CHUNK);
        let zero = [s.splat(0.0); CHUNK];
        let count = (l - first).min(CHUNK);
        let tokens = std::array::from_fn(|i| token(self.dir, first + i.min(count - 1), l));
        let mut of = Chunk { tokens, count, delta: zero, slope: zero, u: zero, du: zero };
        for i in 0..count {
            let at = (self.b * l + of.tokens[i]) * self.dims.e + self.channel;
            let raw = s.add(self.load::<S, FULL>(s, self.inputs.delta[self.dir], at), bias);
            of.u[i] = self.load::<S, FULL>(s, self.inputs.u[self.dir], at);
            if let Some(prompt) = self.inputs.prompt {
                of.u[i] = s.add(of.u[i], self.load::<S, FULL>(s, prompt, at));
            }
            (of.delta[i], of.slope[i]) = s.softplus_and_grad(raw);
            of.du[i] = s.mul(of.delta[i], of.u[i]);
        }
        of
    }

    /// Asks for the inputs of step `i`. Tokens lie a row apart, too far for the machine to guess.
    #[inline(always)]
    pub fn ahead(&self, i: usize) {
        if i < self.dims.l {
            let row = self.b * self.dims.l + token(self.dir, i, self.dims.l);
            let at = row * self.dims.e + self.channel;
            prefetch(self.inputs.u[self.dir], at);
            prefetch(self.inputs.delta[self.dir], at);
            prefetch(self.inputs.xz, at + (row + 1) * self.dims.e);
        }
    }

    /// B and C of the chunk's steps, `2n` values each.
    #[inline(always)]
    pub fn bc<V>(&self, chunk: &Chunk<V>) -> [&[f32]; CHUNK] {
        let (n, r) = (self.dims.n, self.dims.r);
        std::array::from_fn(|i| {
            let at = (self.b * self.dims.l + chunk.tokens[i]) * (r + 2 * n) + r;
            &self.inputs.x_dbl[self.dir][at..at + 2 * n]
        })
    }

    /// The place of state 0 of this block before a chunk in `states`.
    pub fn state_at(&self, chunk: usize) -> usize {
        (((self.dir * self.dims.b + self.b) * self.dims.chunks() + chunk) * self.dims.n) * self.dims.e
            + self.channel
    }

    #[inline(always)]
    fn forward<S: Simd, const FULL: bool>(&self, s: S, out: &Shared, keep: Option<&Kept<Shared>>) {
        let Dims { e, n, .. } = self.dims;
        let bias = self.load::<S, FULL>(s, self.inputs.delta_bias[self.dir], self.channel);
        let skip = self.load::<S, FULL>(s, self.inputs.d[self.dir], self.channel);
        let mut state = [s.splat(0.0); MAX_STATE];
        for number in 0..self.dims.chunks() {
            if let Some(Kept { states, .. }) = keep {
                for (k, state) in state.iter().enumerate().take(n) {
                    self.keep::<S, FULL>(s, states, self.state_at(number) + k * e, *state);
                }
            }
            (0..CHUNK).for_each(|i| self.ahead((number + 1) * CHUNK + i));
            let chunk = self.chunk::<S, FULL>(s, number, bias);
            let bc = self.bc(&chunk);
            let mut y = chunk.u.map(|u| s.mul(skip, u));
            for k in 0..n {
                let a = self.load::<S, FULL>(s, self.a2, k * e + self.channel);
                let mut now = state[k];
                for i in 0..CHUNK {
                    let decay = s.exp2_product(chunk.delta[i], a);
                    now = s.fma(decay, now, s.mul(chunk.du[i], s.splat(bc[i][k])));
                    y[i] = s.fma(now, s.splat(bc[i][n + k]), y[i]);
                }
                state[k] = now;
            }
            for i in 0..chunk.count {
                self.finish::<S, FULL>(s, chunk.tokens[i], y[i], out, keep);
            }
        }
    }

    /// The first direction leaves y in `out`; the second adds its own, halves and gates.
    #[inline(always)]
    fn finish<S: Simd, const FULL: bool>(
        &self,
        s: S,
        t: usize,
        mut y: S::V,
        out: &Shared,
        keep: Option<&Kept<Shared>>,
    ) {
        let row = self.b * self.dims.l + t;
        let at = row * self.dims.e + self.channel;
        if self.dir == 1 {
            // SAFETY: written by this task in the first direction.
            let before = unsafe { out.slice(at, (self.dims.e - self.channel).min(S::LANES)) };
            y = s.add(s.read(before, 0), y);
            if let Some(Kept { y: kept, .. }) = keep {
                self.keep::<S, FULL>(s, kept, at, y);
            }
            let z = self.load::<S, FULL>(s, self.inputs.xz, at + (row + 1) * self.dims.e);
            y = s.mul(s.mul(y, s.splat(0.5)), s.silu(z));
        }
        self.store::<S, FULL>(s, out, at, y);
    }
}
