//! Sums over rows, on the CPU here and on launched devices in [`launch`]. Rows are cut into pieces of a fixed size, so
//! that a sum has the same bits for any number of threads.

pub(crate) mod launch;

use std::ops::Range;

use engine::{Element, simd_fn};
use rayon::prelude::*;

/// Rows of a piece. The partial sums of the pieces are added in order.
pub(crate) const PIECE: usize = 64;

/// Adds to `total [width]` a sum over rows `0..rows`: `piece(range, partial)` adds the rows of a range to its own
/// partial sum, which starts at zero.
pub(crate) fn sum_over_rows(
    rows: usize,
    width: usize,
    total: &mut [f32],
    piece: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let mut partial = vec![0.0; rows.div_ceil(PIECE) * width];
    partial.par_chunks_mut(width).enumerate().for_each(|(i, sum)| {
        piece(i * PIECE..((i + 1) * PIECE).min(rows), sum);
    });
    for sum in partial.chunks_exact(width) {
        total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
    }
}

/// Adds the rows of `x [rows width]` to `total [width]`.
pub(crate) fn sum_rows<E: Element>(x: &[E], width: usize, total: &mut [f32]) {
    sum_over_rows(x.len() / width, width, total, |rows, sum| {
        for row in x[rows.start * width..rows.end * width].chunks_exact(width) {
            sum.iter_mut().zip(row).for_each(|(s, x)| *s += x.to_f32());
        }
    });
}

simd_fn! {
    /// Writes `by x` to y.
    pub(crate) fn write_times<S, X, Y>(s, by: f32, x: &[X], y: &mut [Y]) {
        let by = s.splat(by);
        for i in (0..x.len()).step_by(S::LANES) {
            s.write(y, i, s.mul(by, s.read(x, i)));
        }
    }
}

simd_fn! {
    /// Adds `by x` to y, element by element.
    pub(crate) fn add_times<S, X, Y>(s, by: f32, x: &[X], y: &mut [Y]) {
        let by = s.splat(by);
        for i in (0..x.len()).step_by(S::LANES) {
            let sum = s.add(s.read(y, i), s.mul(by, s.read(x, i)));
            s.write(y, i, sum);
        }
    }
}
