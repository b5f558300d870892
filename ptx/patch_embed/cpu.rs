//! Patch embedding on the CPU: patches are gathered as rows, and one GEMM is added to the other terms. Sums are f32.

use engine::Element;
use engine::gemm::{Mat, MatElement, gemm};
use rayon::prelude::*;

use super::call::Dims;
use crate::rows::{add_times, sum_over_rows};

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
pub fn gather<E: Element>(d: Dims, images: &[E], columns: &mut [E]) {
    columns.par_chunks_mut(d.k()).enumerate().for_each(|(row, column)| {
        let Some((top, left)) = corner(d, row % d.tokens()) else { return column.fill(E::ZERO) };
        let planes = images[row / d.tokens() * d.c * d.size * d.size..].chunks_exact(d.size * d.size);
        for (plane, column) in planes.zip(column.chunks_exact_mut(d.patch * d.patch)) {
            for (i, line) in column.chunks_exact_mut(d.patch).enumerate() {
                line.copy_from_slice(&plane[(top + i) * d.size + left..][..d.patch]);
            }
        }
    });
}

/// The transpose of [`gather`]: writes to every pixel of `images` the sum of its places in patches, or adds it.
pub fn scatter<E: Element>(d: Dims, columns: &[f32], images: &mut [E], accumulate: bool) {
    let planes = images.par_chunks_mut(d.size * d.size).enumerate();
    planes.for_each_init(
        || vec![0.0; d.size * d.size],
        |plane, (index, to)| {
            let (sample, channel) = (index / d.c, index % d.c);
            match accumulate {
                true => plane.iter_mut().zip(&*to).for_each(|(p, to)| *p = to.to_f32()),
                false => plane.fill(0.0),
            }
            for token in 0..d.tokens() {
                let Some((top, left)) = corner(d, token) else { continue };
                let at = (sample * d.tokens() + token) * d.k() + channel * d.patch * d.patch;
                for (i, line) in columns[at..][..d.patch * d.patch].chunks_exact(d.patch).enumerate() {
                    let to = &mut plane[(top + i) * d.size + left..][..d.patch];
                    to.iter_mut().zip(line).for_each(|(t, v)| *t += v);
                }
            }
            to.iter_mut().zip(plane).for_each(|(to, p)| *to = E::from_f32(*p));
        },
    );
}

/// Writes `y [b tokens d]`, not yet rounded.
pub fn forward<E: MatElement>(d: Dims, columns: &[E], w: &[E], [bias, cls, pos]: [&[f32]; 3], y: &mut [f32]) {
    y.par_chunks_mut(d.d).enumerate().for_each(|(row, y)| {
        let token = row % d.tokens();
        let offset = if token == d.class_row { cls } else { bias };
        let pos = &pos[token * d.d..][..d.d];
        y.iter_mut().zip(offset).zip(pos).for_each(|((y, o), p)| *y = o + p);
    });
    gemm(d.b * d.tokens(), d.d, d.k(), Mat::rows(columns, d.k()), Mat::transposed(w, d.k()), y, d.d, true);
}

/// Writes the gradient of the gathered patches, `[b tokens k]`.
pub fn grad_columns<E: MatElement>(d: Dims, dy: &[E], w: &[E], columns: &mut [f32]) {
    let rows = d.b * d.tokens();
    gemm(rows, d.k(), d.d, Mat::rows(dy, d.d), Mat::rows(w, d.k()), columns, d.k(), false);
}

/// Writes `dw [d k]`, or adds to it.
pub fn grad_weight<E: MatElement>(d: Dims, dy: &[E], columns: &[E], dw: &mut [f32], accumulate: bool) {
    let rows = d.b * d.tokens();
    gemm(d.d, d.k(), rows, Mat::transposed(dy, d.d), Mat::rows(columns, d.k()), dw, d.k(), accumulate);
}

/// Adds the rows of all patches to `dbias [d]`.
pub fn grad_bias<E: Element>(d: Dims, dy: &[E], dbias: &mut [f32]) {
    sum_over_rows(d.b * d.tokens(), d.d, dbias, |rows, sum| {
        for row in rows.filter(|row| row % d.tokens() != d.class_row) {
            sum.iter_mut().zip(&dy[row * d.d..]).for_each(|(s, dy)| *s += dy.to_f32());
        }
    });
}

/// Adds the tokens from row `first` on, of all samples, to `sum [.. d]`.
pub fn sum_samples<E: Element>(d: Dims, dy: &[E], first: usize, sum: &mut [f32]) {
    sum.par_chunks_mut(d.d).enumerate().for_each(|(row, sum)| {
        for dy in dy.chunks_exact(d.tokens() * d.d) {
            add_times(1.0, &dy[(first + row) * d.d..][..d.d], sum);
        }
    });
}
