//! Patch embedding on the CPU: patches are gathered as rows, and one GEMM is added to the other terms.

use engine::gemm::{Mat, gemm};
use rayon::prelude::*;

use super::call::Dims;
use crate::rows::sum_over_rows;

/// Top left pixel of a token's patch; the class token has none.
fn corner(d: Dims, token: usize) -> Option<(usize, usize)> {
    let patch = match token.cmp(&d.class_row) {
        std::cmp::Ordering::Less => token,
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => token - 1,
    };
    Some((patch / d.grid * d.stride, patch % d.grid * d.stride))
}

/// Writes every token's patch as a row of `columns [b tokens k]`, laid out as a row of the weight. The row of the class
/// token is zero: it costs the GEMM half a percent, and the output need not be cut in two.
pub fn gather(d: Dims, images: &[f32], columns: &mut [f32]) {
    columns.par_chunks_mut(d.k()).enumerate().for_each(|(row, column)| {
        let Some((top, left)) = corner(d, row % d.tokens()) else { return column.fill(0.0) };
        let planes = images[row / d.tokens() * d.c * d.size * d.size..].chunks_exact(d.size * d.size);
        for (plane, column) in planes.zip(column.chunks_exact_mut(d.patch * d.patch)) {
            for (i, line) in column.chunks_exact_mut(d.patch).enumerate() {
                line.copy_from_slice(&plane[(top + i) * d.size + left..][..d.patch]);
            }
        }
    });
}

/// The transpose of [`gather`]: adds every patch to its pixels in `images`.
pub fn scatter(d: Dims, columns: &[f32], images: &mut [f32]) {
    images.par_chunks_mut(d.size * d.size).enumerate().for_each(|(index, plane)| {
        let (sample, channel) = (index / d.c, index % d.c);
        for token in 0..d.tokens() {
            let Some((top, left)) = corner(d, token) else { continue };
            let at = (sample * d.tokens() + token) * d.k() + channel * d.patch * d.patch;
            for (i, line) in columns[at..][..d.patch * d.patch].chunks_exact(d.patch).enumerate() {
                let to = &mut plane[(top + i) * d.size + left..][..d.patch];
                to.iter_mut().zip(line).for_each(|(t, v)| *t += v);
            }
        }
    });
}

/// Writes `y [b tokens d]`.
pub fn forward(d: Dims, columns: &[f32], w: &[f32], bias: &[f32], cls: &[f32], pos: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(d.d).enumerate().for_each(|(row, y)| {
        let token = row % d.tokens();
        let offset = if token == d.class_row { cls } else { bias };
        let pos = &pos[token * d.d..][..d.d];
        y.iter_mut().zip(offset).zip(pos).for_each(|((y, o), p)| *y = o + p);
    });
    gemm(d.b * d.tokens(), d.d, d.k(), Mat::rows(columns, d.k()), Mat::transposed(w, d.k()), y, d.d, true);
}

/// Writes the gradient of the gathered patches, `[b tokens k]`.
pub fn grad_columns(d: Dims, dy: &[f32], w: &[f32], columns: &mut [f32]) {
    let rows = d.b * d.tokens();
    gemm(rows, d.k(), d.d, Mat::rows(dy, d.d), Mat::rows(w, d.k()), columns, d.k(), false);
}

/// Writes `dw [d k]`, or adds to it.
pub fn grad_weight(d: Dims, dy: &[f32], columns: &[f32], dw: &mut [f32], accumulate: bool) {
    let rows = d.b * d.tokens();
    gemm(d.d, d.k(), rows, Mat::transposed(dy, d.d), Mat::rows(columns, d.k()), dw, d.k(), accumulate);
}

/// Adds the rows of all patches to `dbias [d]`.
pub fn grad_bias(d: Dims, dy: &[f32], dbias: &mut [f32]) {
    sum_over_rows(d.b * d.tokens(), d.d, dbias, |rows, sum| {
        for row in rows.filter(|row| row % d.tokens() != d.class_row) {
            sum.iter_mut().zip(&dy[row * d.d..]).for_each(|(s, dy)| *s += dy);
        }
    });
}

/// Adds the tokens from row `first` on, of all samples, to `sum [.. d]`.
pub fn sum_samples(d: Dims, dy: &[f32], first: usize, sum: &mut [f32]) {
    sum.par_chunks_mut(d.d).enumerate().for_each(|(row, sum)| {
        for dy in dy.chunks_exact(d.tokens() * d.d) {
            sum.iter_mut().zip(&dy[(first + row) * d.d..]).for_each(|(s, dy)| *s += dy);
        }
    });
}
