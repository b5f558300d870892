//! Work split by rows: fixed pieces, so that sums come out the same for any number of threads.

pub(crate) mod launch;

use std::marker::PhantomData;

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

/// Adds the rows of `x[.. width]` to `total[width]`.
pub(crate) fn sum_rows(x: &[f32], width: usize, total: &mut [f32]) {
    sum_over_rows(x.len() / width, width, total, |rows, sum| {
        for row in x[rows.start * width..rows.end * width].chunks_exact(width) {
            sum.iter_mut().zip(row).for_each(|(s, x)| *s += x);
        }
    });
}

/// A buffer that several tasks write, each in places of its own (columns of a row-major matrix).
pub(crate) struct Shared<'a> {
    at: *mut f32,
    len: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer is used only through `slice`, whose callers keep to places of their own.
unsafe impl Sync for Shared<'_> {}
// SAFETY: as above.
unsafe impl Send for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(data: &'a mut [f32]) -> Self {
        Shared { at: data.as_mut_ptr(), len: data.len(), owner: PhantomData }
    }

    /// Elements `at..at + len`, checked against the buffer.
    /// # Safety
    /// No other task may touch these elements while the slice lives, nor may another slice of them live.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, at: usize, len: usize) -> &mut [f32] {
        assert!(at + len <= self.len);
        // SAFETY: inside the buffer; exclusive by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(at), len) }
    }
}
