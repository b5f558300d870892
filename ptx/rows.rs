//! Work split by rows: fixed pieces, so that sums come out the same for any number of threads.

use rayon::prelude::*;

/// Rows per piece. A piece's partial sum is one term of the whole, in order.
pub(crate) const PIECE: usize = 64;

/// Sums rows `width` wide over all rows: `piece(rows, partial)` adds the rows of one range to its zeroed
/// partial sum; partial sums are added in order to `total`.
pub(crate) fn sum_over_rows(
    rows: usize,
    width: usize,
    total: &mut [f32],
    piece: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync,
) {
    let mut partial = vec![0.0; rows.div_ceil(PIECE) * width];
    partial.par_chunks_mut(width).enumerate().for_each(|(i, sum)| {
        piece(i * PIECE..((i + 1) * PIECE).min(rows), sum);
    });
    for sum in partial.chunks_exact(width) {
        total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
    }
}
