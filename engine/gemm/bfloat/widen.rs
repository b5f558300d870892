//! The product where there is no `vdpbf16ps`: both operands widened to f32, a few rows at a time, and the f32 product.

use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::super::{Mat, Options, float};
use super::stored::Stored;

/// Rows of C that are computed at once. Their number is that for any number of threads.
const ROWS: usize = 256;
/// Elements that a task widens.
const PIECE: usize = 1 << 14;

/// Widens rows of `len` elements, `ld` apart, to rows that are contiguous.
fn widen(from: &[bf16], ld: usize, len: usize, to: &mut [f32], serial: bool) {
    if to.is_empty() {
        return;
    }
    let rows = (PIECE / len).max(1);
    let work = |(i, to): (usize, &mut [f32])| {
        for (r, to) in to.chunks_mut(len).enumerate() {
            from[(i * rows + r) * ld..][..len].convert_to_f32_slice(to);
        }
    };
    if serial {
        to.chunks_mut(rows * len).enumerate().for_each(work);
    } else {
        to.par_chunks_mut(rows * len).enumerate().for_each(work);
    }
}

/// Widens the part of `mat` that has `rows` rows from `first` on and `cols` columns, and multiplies with it.
fn widened<R>(
    mat: Mat<bf16>,
    first: usize,
    [rows, cols]: [usize; 2],
    memory: &mut Vec<f32>,
    serial: bool,
    work: impl FnOnce(Mat<f32>) -> R,
) -> R {
    memory.resize(rows * cols, 0.0);
    if mat.transposed {
        widen(&mat.data[first.min(mat.data.len())..], mat.ld, rows, memory, serial);
        work(Mat::transposed(memory, rows))
    } else {
        widen(&mat.data[(first * mat.ld).min(mat.data.len())..], mat.ld, cols, memory, serial);
        work(Mat::rows(memory, cols))
    }
}

/// Computes `c = a b`; the sizes were checked.
pub fn product<O: Stored>(
    [m, n, k]: [usize; 3],
    a: Mat<bf16>,
    b: Mat<bf16>,
    c: &mut [O],
    ldc: usize,
    options: Options,
) {
    let serial = options.serial;
    let (mut part, mut sums) = (vec![], vec![0.0; m.min(ROWS) * n]);
    widened(b, 0, [k, n], &mut vec![], serial, |b| {
        for first in (0..m).step_by(ROWS) {
            let rows = (m - first).min(ROWS);
            let plain = Options { serial, ..Options::default() };
            widened(a, first, [rows, k], &mut part, serial, |a| {
                float::product([rows, n, k], a, b, &mut sums, n, plain);
            });
            for (c, sums) in c[first * ldc..].chunks_mut(ldc).zip(sums.chunks(n)).take(rows) {
                for (j, (c, sum)) in c.iter_mut().zip(sums).enumerate() {
                    let sum = sum + options.bias.map_or(0.0, |bias| bias[j]);
                    *c = O::from_f32(if options.accumulate { sum + c.to_f32() } else { sum });
                }
            }
        }
    });
}
