//! Linear on the CPU: the engine's GEMM, which adds the bias before it rounds.

use engine::gemm::{Mat, MatElement, Options, gemm, multiply};

use super::call::Dims;
use crate::rows::sum_over_rows;

/// Writes `y [rows n]`.
pub fn forward<E: MatElement>(d: Dims, x: &[E], w: &[E], bias: Option<&[f32]>, y: &mut [E]) {
    let (x, w) = (Mat::rows(&x[d.first..], d.width), Mat::transposed(w, d.k));
    multiply([d.rows, d.n, d.k], x, w, y, d.n, Options { bias, ..Options::default() });
}

/// Adds `x w^T + bias` to `y [rows n]`.
pub fn add<E: MatElement>(d: Dims, x: &[E], w: &[E], bias: Option<&[f32]>, y: &mut [E]) {
    let (x, w) = (Mat::rows(x, d.width), Mat::transposed(w, d.k));
    multiply([d.rows, d.n, d.k], x, w, y, d.n, Options { bias, accumulate: true, ..Options::default() });
}

/// Writes the window's columns of `dx [rows width]`, or adds to them.
pub fn grad_x<E: MatElement>(d: Dims, dy: &[E], w: &[E], dx: &mut [E], accumulate: bool) {
    gemm(d.rows, d.k, d.n, Mat::rows(dy, d.n), Mat::rows(w, d.k), &mut dx[d.first..], d.width, accumulate);
}

/// Writes `dw [n k]`, or adds to it.
pub fn grad_w<E: MatElement>(d: Dims, dy: &[E], x: &[E], dw: &mut [f32], accumulate: bool) {
    gemm(d.n, d.k, d.rows, Mat::transposed(dy, d.n), Mat::rows(&x[d.first..], d.width), dw, d.k, accumulate);
}

/// Adds to `dbias [n]`.
pub fn grad_bias<E: MatElement>(d: Dims, dy: &[E], dbias: &mut [f32]) {
    sum_over_rows(d.rows, d.n, dbias, |rows, sum| {
        for dy in dy[rows.start * d.n..rows.end * d.n].chunks_exact(d.n) {
            sum.iter_mut().zip(dy).for_each(|(s, dy)| *s += dy.to_f32());
        }
    });
}
