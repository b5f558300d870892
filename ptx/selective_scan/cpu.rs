//! The scan on the CPU, forward.
//!
//! One task walks a block of `LANES` channels of one image through all tokens, first forwards, then backwards,
//! with the states of a block in registers. Bound: 16 exponentials per token and channel at about 5 cycles a
//! vector; memory traffic is a tenth of that.

use engine::simd::{Simd, prefetch};
use engine::simd_fn;
use rayon::prelude::*;

use super::{CHUNK, Dims, Inputs, MAX_STATE};
use crate::rows::Shared;

/// Tokens between asking for an input and using it: a token takes about 100 cycles, memory several hundred.
pub(super) const AHEAD: usize = 6;

/// Channels per task.
const GROUP: usize = 128;

/// Runs a body for every state. With 16, as in the published models, it is written out sixteen times: with the
/// index known the states stay in registers, and the compiler would leave a loop of this length rolled.
macro_rules! each_state {
    ($count:ident = $n:expr, $k:ident => $body:block) => {
        if $count == 16 {
            each_state!(@ $k $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
        } else {
            for $k in 0..$n $body
        }
    };
    (@ $k:ident $body:block $($i:literal)*) => {{
        $({
            let $k: usize = $i;
            $body
        })*
    }};
}
pub(super) use each_state;

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

/// Writes `out`, and the state before every chunk into `states [2 b chunks n e]` when given.
pub(super) fn forward(dims: Dims, inputs: &Inputs, out: &mut [f32], states: Option<&mut [f32]>) {
    let a2 = decay_rates(dims, inputs.a_log);
    let out = Shared::new(out);
    let states = states.map(Shared::new);
    let groups = dims.e.div_ceil(GROUP);
    (0..dims.b * groups).into_par_iter().for_each(|task| {
        let (b, first) = (task / groups, task % groups * GROUP);
        let end = (first + GROUP).min(dims.e);
        forward_group(dims, inputs, &a2, b, first, end, &out, states.as_ref());
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
        states: Option<&Shared>,
    ) {
        for channel in (first..end).step_by(S::LANES) {
            for dir in 0..2 {
                let block = Block { dims, inputs, a2: &a2[dir], b, channel, dir };
                match (dims.n == 16, end - channel >= S::LANES) {
                    (true, true) => block.forward::<S, 16, true>(s, out, states),
                    (_, true) => block.forward::<S, 0, true>(s, out, states),
                    (_, false) => block.forward::<S, 0, false>(s, out, states),
                }
            }
        }
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

/// One token's inputs of a block.
pub(super) struct Token<V> {
    /// softplus(delta + bias)
    pub delta: V,
    /// delta + bias
    pub raw: V,
    pub u: V,
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

    #[inline(always)]
    pub fn token<S: Simd, const FULL: bool>(&self, s: S, t: usize, bias: S::V) -> Token<S::V> {
        let at = (self.b * self.dims.l + t) * self.dims.e + self.channel;
        let raw = s.add(self.load::<S, FULL>(s, self.inputs.delta[self.dir], at), bias);
        let mut u = self.load::<S, FULL>(s, self.inputs.u[self.dir], at);
        if let Some(prompt) = self.inputs.prompt {
            u = s.add(u, self.load::<S, FULL>(s, prompt, at));
        }
        Token { delta: s.softplus(raw), raw, u }
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

    /// B and C of a token; `N` tells the compiler their length where it is known.
    #[inline(always)]
    pub fn bc<const N: usize>(&self, t: usize) -> (&[f32], &[f32]) {
        let n = if N == 0 { self.dims.n } else { N };
        let width = self.dims.r + 2 * self.dims.n;
        let at = (self.b * self.dims.l + t) * width + self.dims.r;
        let row = &self.inputs.x_dbl[self.dir][at..at + 2 * n];
        (&row[..n], &row[n..2 * n])
    }

    /// The place of state 0 of this block before a chunk in `states`.
    pub fn state_at(&self, chunk: usize) -> usize {
        (((self.dir * self.dims.b + self.b) * self.dims.chunks() + chunk) * self.dims.n) * self.dims.e
            + self.channel
    }

    #[inline(always)]
    fn forward<S: Simd, const N: usize, const FULL: bool>(
        &self,
        s: S,
        out: &Shared,
        states: Option<&Shared>,
    ) {
        let Dims { l, e, n, .. } = self.dims;
        let n = if N == 0 { n } else { N };
        let bias = self.load::<S, FULL>(s, self.inputs.delta_bias[self.dir], self.channel);
        let skip = self.load::<S, FULL>(s, self.inputs.d[self.dir], self.channel);
        let mut a = [s.splat(0.0); MAX_STATE];
        for (n, a) in a.iter_mut().enumerate().take(n) {
            *a = self.load::<S, FULL>(s, self.a2, n * e + self.channel);
        }
        let mut state = [s.splat(0.0); MAX_STATE];
        for i in 0..l {
            if let (Some(states), true) = (states, i % CHUNK == 0) {
                for (n, state) in state.iter().enumerate().take(n) {
                    self.store::<S, FULL>(s, states, self.state_at(i / CHUNK) + n * e, *state);
                }
            }
            self.ahead(i + AHEAD);
            let t = token(self.dir, i, l);
            let Token { delta, u, .. } = self.token::<S, FULL>(s, t, bias);
            let (bt, ct) = self.bc::<N>(t);
            let du = s.mul(delta, u);
            let mut y = s.mul(skip, u);
            each_state!(N = n, k => {
                let decay = s.exp2_product(delta, a[k]);
                state[k] = s.fma(decay, state[k], s.mul(du, s.splat(bt[k])));
                y = s.fma(state[k], s.splat(ct[k]), y);
            });
            self.finish::<S, FULL>(s, t, y, out);
        }
    }

    /// The first direction leaves y in `out`; the second adds its own, halves and gates.
    #[inline(always)]
    fn finish<S: Simd, const FULL: bool>(&self, s: S, t: usize, y: S::V, out: &Shared) {
        let row = self.b * self.dims.l + t;
        let at = row * self.dims.e + self.channel;
        let y = if self.dir == 0 {
            y
        } else {
            // SAFETY: written by this task in the first direction.
            let before = unsafe { out.slice(at, (self.dims.e - self.channel).min(S::LANES)) };
            let z =
                self.load::<S, FULL>(s, self.inputs.xz, row * 2 * self.dims.e + self.dims.e + self.channel);
            s.mul(s.mul(s.add(s.read(before, 0), y), s.splat(0.5)), s.silu(z))
        };
        self.store::<S, FULL>(s, out, at, y);
    }
}
