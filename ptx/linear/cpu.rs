//! Linear on the CPU: the engine's GEMM, which adds to the bias where there is one.

use engine::gemm::{Mat, gemm};
use rayon::prelude::*;

use super::call::Dims;
use crate::rows::{PIECE, sum_over_rows};

/// Writes `y [rows n]`.
pub fn forward(d: Dims, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    if let Some(bias) = bias {
        y.par_chunks_mut(PIECE * d.n)
            .for_each(|rows| rows.chunks_exact_mut(d.n).for_each(|y| y.copy_from_slice(bias)));
    }
    gemm(
        d.rows,
        d.n,
        d.k,
        Mat::rows(&x[d.first..], d.width),
        Mat::transposed(w, d.k),
        y,
        d.n,
        bias.is_some(),
    );
}

/// Adds `x w^T + bias` to `y [rows n]`.
pub fn add(d: Dims, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    if let Some(bias) = bias {
        y.par_chunks_mut(PIECE * d.n).for_each(|rows| {
            for y in rows.chunks_exact_mut(d.n) {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        });
    }
    gemm(d.rows, d.n, d.k, Mat::rows(x, d.width), Mat::transposed(w, d.k), y, d.n, true);
}

/// Writes the window's columns of `dx [rows width]`, or adds to them.
pub fn grad_x(d: Dims, dy: &[f32], w: &[f32], dx: &mut [f32], accumulate: bool) {
    gemm(d.rows, d.k, d.n, Mat::rows(dy, d.n), Mat::rows(w, d.k), &mut dx[d.first..], d.width, accumulate);
}

/// Writes `dw [n k]`, or adds to it.
pub fn grad_w(d: Dims, dy: &[f32], x: &[f32], dw: &mut [f32], accumulate: bool) {
    gemm(d.n, d.k, d.rows, Mat::transposed(dy, d.n), Mat::rows(&x[d.first..], d.width), dw, d.k, accumulate);
}

/// Adds to `dbias [n]`.
pub fn grad_bias(d: Dims, dy: &[f32], dbias: &mut [f32]) {
    sum_over_rows(d.rows, d.n, dbias, |rows, sum| {
        for dy in dy[rows.start * d.n..rows.end * d.n].chunks_exact(d.n) {
            sum.iter_mut().zip(dy).for_each(|(s, dy)| *s += dy);
        }
    });
}
