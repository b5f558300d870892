//! Add and norm on the CPU: one pass over the rows. Bound by memory: the later looks at a row find it in the cache.

use engine::simd::Simd;
use engine::{Tensor, for_vectors, simd_fn};
use rayon::prelude::*;

use super::call::Call;
use crate::rows::PIECE;

/// Writes the norm, and the sum where it is asked for.
pub fn forward(
    call: &Call,
    x: &Tensor,
    residual: Option<&Tensor>,
    [weight, bias]: [&Tensor; 2],
    sum: Option<&mut Tensor>,
    out: &mut Tensor,
) {
    let d = call.d;
    let (x, residual) = (x.as_slice(), residual.map(Tensor::as_slice));
    let (weight, bias, keep) = (weight.as_slice(), bias.as_slice(), call.keep());
    if x.is_empty() {
        return;
    }
    let rows = |first: usize, out: &mut [f32], mut sum: Option<&mut [f32]>| {
        for (i, out) in out.chunks_exact_mut(d).enumerate() {
            let (row, at) = (first + i, (first + i) * d..(first + i + 1) * d);
            match &mut sum {
                None => norm_row(&x[at], weight, bias, call.eps, out),
                Some(sum) => {
                    let sum = &mut sum[i * d..(i + 1) * d];
                    let keep = keep.map_or(1.0, |keep| keep[row / call.l]);
                    sum_row(&x[at.clone()], keep, residual.map(|r| &r[at]), sum);
                    norm_row(sum, weight, bias, call.eps, out);
                }
            }
        }
    };
    let pieces = out.as_mut_slice().par_chunks_mut(PIECE * d);
    match sum {
        None => pieces.enumerate().for_each(|(piece, out)| rows(piece * PIECE, out, None)),
        Some(sum) => pieces
            .zip(sum.as_mut_slice().par_chunks_mut(PIECE * d))
            .enumerate()
            .for_each(|(piece, (out, sum))| rows(piece * PIECE, out, Some(sum))),
    }
}

simd_fn! {
    /// Writes `residual + keep h`.
    fn sum_row<S>(s, h: &[f32], keep: f32, residual: Option<&[f32]>, sum: &mut [f32]) {
        let (d, keep) = (h.len(), s.splat(keep));
        for i in (0..d).step_by(S::LANES) {
            let before = residual.map_or(s.splat(0.0), |residual| s.read(residual, i));
            s.write(sum, i, s.fma(keep, s.read(h, i), before));
        }
    }
}

/// The mean of a row, and the inverse of its deviation. The deviation is taken from the mean, since the difference of the
/// mean square and the squared mean would cancel.
#[inline(always)]
fn statistics<S: Simd>(s: S, x: &[f32], eps: f32) -> (f32, f32) {
    let d = x.len();
    let mut total = s.splat(0.0);
    for i in (0..d).step_by(S::LANES) {
        total = s.add(total, s.read(x, i));
    }
    let mean = s.sum(total) / d as f32;
    let (mut squares, middle) = (s.splat(0.0), s.splat(mean));
    let (whole, rest) = x.split_at(d - d % S::LANES);
    for i in (0..whole.len()).step_by(S::LANES) {
        let away = s.sub(s.read(whole, i), middle);
        squares = s.fma(away, away, squares);
    }
    let rest: f32 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, 1.0 / ((s.sum(squares) + rest) / d as f32 + eps).sqrt())
}

simd_fn! {
    fn norm_row<S>(s, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        let d = x.len();
        let (weight, bias, out) = (&weight[..d], &bias[..d], &mut out[..d]);
        let (mean, inverse) = statistics(s, x, eps);
        let (mean, inverse) = (s.splat(mean), s.splat(inverse));
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: every slice is `d` long, a full vector ends within it.
            unsafe {
                let n = s.mul(s.sub(s.read_at::<FULL>(x, i), mean), inverse);
                s.write_at::<FULL>(out, i, s.fma(n, s.read_at::<FULL>(weight, i), s.read_at::<FULL>(bias, i)));
            }
        });
    }
}

/// Writes what comes through the norm to `dsum`, or adds it where its flag is set, and adds the gradients of weight and
/// bias that are asked for. `sum` is what was normalised; the bias alone does without it.
pub fn backward(
    call: &Call,
    [sum, weight]: [Option<&Tensor>; 2],
    dout: &[f32],
    dsum: Option<(bool, &mut [f32])>,
    [dweight, dbias]: [Option<&mut [f32]>; 2],
) {
    let d = call.d;
    if dout.is_empty() {
        return;
    }
    let Some(sum) = sum.map(Tensor::as_slice) else {
        return dbias.into_iter().for_each(|dbias| crate::rows::sum_rows(dout, d, dbias));
    };
    let weight = weight.map(Tensor::as_slice);
    // A piece of rows has its dweight and dbias side by side, or an unused number where nobody wants them.
    let wanted = dweight.is_some() || dbias.is_some();
    let width = if wanted { 2 * d } else { 1 };
    let mut sums = vec![0.0; call.rows.div_ceil(PIECE) * width];
    let rows = |piece: usize, sums: &mut [f32], mut dsum: Option<(bool, &mut [f32])>| {
        for (i, row) in (piece * PIECE..((piece + 1) * PIECE).min(call.rows)).enumerate() {
            let (r, dout) = (&sum[row * d..(row + 1) * d], &dout[row * d..(row + 1) * d]);
            let statistics = row_statistics(r, call.eps);
            if wanted {
                add_to_sums(r, dout, statistics, sums);
            }
            if let (Some((accumulate, dsum)), Some(weight)) = (&mut dsum, weight) {
                through_row(r, weight, dout, statistics, *accumulate, &mut dsum[i * d..(i + 1) * d]);
            }
        }
    };
    let parts = sums.par_chunks_mut(width).enumerate();
    match dsum {
        None => parts.for_each(|(piece, sums)| rows(piece, sums, None)),
        Some((accumulate, dsum)) => parts
            .zip(dsum.par_chunks_mut(PIECE * d))
            .for_each(|((piece, sums), dsum)| rows(piece, sums, Some((accumulate, dsum)))),
    }
    for (total, first) in [(dweight, 0), (dbias, d)] {
        let Some(total) = total else { continue };
        for sums in sums.chunks_exact(width) {
            total.iter_mut().zip(&sums[first..]).for_each(|(t, s)| *t += s);
        }
    }
}

simd_fn! {
    fn row_statistics<S>(s, x: &[f32], eps: f32) -> (f32, f32) {
        statistics(s, x, eps)
    }
}

simd_fn! {
    /// Adds `dout n` to the first half of `sums` and `dout` to the second.
    fn add_to_sums<S>(s, r: &[f32], dout: &[f32], statistics: (f32, f32), sums: &mut [f32]) {
        let d = r.len();
        let (mean, inverse) = (s.splat(statistics.0), s.splat(statistics.1));
        let (dweight, dbias) = sums.split_at_mut(d);
        let (dout, dbias) = (&dout[..d], &mut dbias[..d]);
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: every slice is `d` long, a full vector ends within it.
            unsafe {
                let n = s.mul(s.sub(s.read_at::<FULL>(r, i), mean), inverse);
                let g = s.read_at::<FULL>(dout, i);
                s.write_at::<FULL>(dweight, i, s.fma(g, n, s.read_at::<FULL>(dweight, i)));
                s.write_at::<FULL>(dbias, i, s.add(s.read_at::<FULL>(dbias, i), g));
            }
        });
    }
}

simd_fn! {
    /// Writes `(g - mean g - n mean (g n)) s` with `g = weight dout`, or adds it.
    fn through_row<S>(
        s, r: &[f32], weight: &[f32], dout: &[f32], statistics: (f32, f32), accumulate: bool, dr: &mut [f32],
    ) {
        let d = r.len();
        let (weight, dout, dr) = (&weight[..d], &dout[..d], &mut dr[..d]);
        let (mean, inverse) = (s.splat(statistics.0), s.splat(statistics.1));
        let (mut plain, mut along) = (s.splat(0.0), s.splat(0.0));
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: every slice is `d` long, a full vector ends within it.
            unsafe {
                let n = s.mul(s.sub(s.read_at::<FULL>(r, i), mean), inverse);
                // It is zero beyond the end of the row, where n is not.
                let g = s.mul(s.read_at::<FULL>(weight, i), s.read_at::<FULL>(dout, i));
                plain = s.add(plain, g);
                along = s.fma(g, n, along);
            }
        });
        let plain = s.splat(s.sum(plain) / d as f32);
        let along = s.splat(-s.sum(along) / d as f32);
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: as above.
            unsafe {
                let n = s.mul(s.sub(s.read_at::<FULL>(r, i), mean), inverse);
                let g = s.mul(s.read_at::<FULL>(weight, i), s.read_at::<FULL>(dout, i));
                let through = s.fma(along, n, s.sub(g, plain));
                let before = if accumulate { s.read_at::<FULL>(dr, i) } else { s.splat(0.0) };
                s.write_at::<FULL>(dr, i, s.fma(through, inverse, before));
            }
        });
    }
}

/// Writes each image of `from`, multiplied by its factor.
pub fn scale_images(keep: &[f32], from: &[f32], to: &mut [f32]) {
    let image = from.len() / keep.len().max(1);
    let images = to.par_chunks_mut(image.max(1)).zip(from.par_chunks(image.max(1))).zip(keep);
    images.for_each(|((to, from), keep)| to.iter_mut().zip(from).for_each(|(to, from)| *to = keep * from));
}
