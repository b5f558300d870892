//! GELU on the CPU: one pass over pieces.

use engine::{Element, for_vectors, simd_fn};
use rayon::prelude::*;

/// Elements per task.
const PIECE: usize = 1 << 14;

/// Writes y.
pub fn forward<E: Element>(x: &[E], y: &mut [E]) {
    y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| values(x, y));
}

/// Writes dx, or adds to it.
pub fn grad<E: Element>(x: &[E], dy: &[E], dx: &mut [E], accumulate: bool) {
    let pieces = dx.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).zip(dy.par_chunks(PIECE));
    pieces.for_each(|((dx, x), dy)| slopes(x, dy, dx, accumulate));
}

simd_fn! {
    fn values<S, E>(s, x: &[E], y: &mut [E]) {
        let y = &mut y[..x.len()];
        for_vectors!(S, x.len(), |i, FULL| {
            // SAFETY: both slices have the same length, and a full vector ends within it.
            unsafe {
                let v = s.read_at::<FULL>(x, i);
                s.write_at::<FULL>(y, i, s.mul(v, s.normal(v).0));
            }
        });
    }
}

simd_fn! {
    fn slopes<S, E>(s, x: &[E], dy: &[E], dx: &mut [E], accumulate: bool) {
        let (dy, dx) = (&dy[..x.len()], &mut dx[..x.len()]);
        for_vectors!(S, x.len(), |i, FULL| {
            // SAFETY: every slice has the same length, and a full vector ends within it.
            unsafe {
                let v = s.read_at::<FULL>(x, i);
                let (distribution, density) = s.normal(v);
                let through = s.mul(s.read_at::<FULL>(dy, i), s.fma(v, density, distribution));
                let sum = if accumulate { s.add(s.read_at::<FULL>(dx, i), through) } else { through };
                s.write_at::<FULL>(dx, i, sum);
            }
        });
    }
}
