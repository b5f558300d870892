//! Scale and shift on the CPU: one pass over pieces of rows. Bound by memory.

use engine::{Element, simd_fn};
use rayon::prelude::*;

use crate::rows::{PIECE, sum_over_rows};

/// Writes y.
pub fn forward<E: Element>(d: usize, x: &[E], scale: &[f32], shift: Option<&[f32]>, y: &mut [E]) {
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(PIECE * d).zip(x.par_chunks(PIECE * d)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            match shift {
                Some(shift) => scaled_and_shifted(x, scale, shift, y),
                None => scaled(x, scale, y),
            }
        }
    });
}

/// Writes dx, or adds to it.
pub fn grad_x<E: Element>(d: usize, dy: &[E], scale: &[f32], dx: &mut [E], accumulate: bool) {
    if dx.is_empty() {
        return;
    }
    dx.par_chunks_mut(PIECE * d).zip(dy.par_chunks(PIECE * d)).for_each(|(dx, dy)| {
        for (dx, dy) in dx.chunks_exact_mut(d).zip(dy.chunks_exact(d)) {
            match accumulate {
                true => add_product(dy, scale, dx),
                false => scaled(dy, scale, dx),
            }
        }
    });
}

/// Adds to `dscale [d]`.
pub fn grad_scale<E: Element>(d: usize, dy: &[E], x: &[E], dscale: &mut [f32]) {
    sum_over_rows(x.len() / d.max(1), d, dscale, |rows, sum| {
        for at in rows.map(|row| row * d) {
            add_product(&dy[at..at + d], &x[at..at + d], sum);
        }
    });
}

simd_fn! {
    fn scaled<S, E>(s, x: &[E], scale: &[f32], y: &mut [E]) {
        for i in (0..x.len()).step_by(S::LANES) {
            s.write(y, i, s.mul(s.read(scale, i), s.read(x, i)));
        }
    }
}

simd_fn! {
    fn scaled_and_shifted<S, E>(s, x: &[E], scale: &[f32], shift: &[f32], y: &mut [E]) {
        for i in (0..x.len()).step_by(S::LANES) {
            s.write(y, i, s.fma(s.read(scale, i), s.read(x, i), s.read(shift, i)));
        }
    }
}

simd_fn! {
    /// `sum += a b`
    fn add_product<S, A, B, T>(s, a: &[A], b: &[B], sum: &mut [T]) {
        for i in (0..a.len()).step_by(S::LANES) {
            let v = s.fma(s.read(a, i), s.read(b, i), s.read(sum, i));
            s.write(sum, i, v);
        }
    }
}
