//! Add and norm on the CPU: one pass over the rows. Bound by memory: the later looks at a row find it in the cache.

use engine::simd::Simd;
use engine::{Element, for_vectors, simd_fn};
use rayon::prelude::*;

use super::call::Call;
use crate::disjoint::Disjoint;
use crate::rows::PIECE;

/// Writes the norm, and the sum where it is asked for.
pub fn forward<E: Element>(
    call: &Call,
    x: &[E],
    residual: Option<&[f32]>,
    [weight, bias]: [&[f32]; 2],
    sum: Option<&mut [f32]>,
    out: &mut [E],
) {
    let (d, keep) = (call.d, call.keep());
    if x.is_empty() {
        return;
    }
    let rows = |first: usize, out: &mut [E], mut sum: Option<&mut [f32]>| {
        for (i, out) in out.chunks_exact_mut(d).enumerate() {
            let (row, at) = (first + i, (first + i) * d..(first + i + 1) * d);
            match &mut sum {
                None => norm_row(&x[at], weight, bias, call.eps, out),
                Some(sum) => {
                    let sum = &mut sum[i * d..(i + 1) * d];
                    let keep = keep.map_or(1.0, |keep| keep[row / call.l]);
                    sum_row(&x[at.clone()], keep, residual.map(|r| &r[at]), sum);
                    norm_row(&*sum, weight, bias, call.eps, out);
                }
            }
        }
    };
    let pieces = out.par_chunks_mut(PIECE * d);
    match sum {
        None => pieces.enumerate().for_each(|(piece, out)| rows(piece * PIECE, out, None)),
        Some(sum) => pieces
            .zip(sum.par_chunks_mut(PIECE * d))
            .enumerate()
            .for_each(|(piece, (out, sum))| rows(piece * PIECE, out, Some(sum))),
    }
}

simd_fn! {
    /// Writes `residual + keep h`.
    fn sum_row<S, E>(s, h: &[E], keep: f32, residual: Option<&[f32]>, sum: &mut [f32]) {
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
fn statistics<S: Simd, E: Element>(s: S, x: &[E], eps: f32) -> (f32, f32) {
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
    let rest: f32 = rest.iter().map(|x| (x.to_f32() - mean) * (x.to_f32() - mean)).sum();
    (mean, 1.0 / ((s.sum(squares) + rest) / d as f32 + eps).sqrt())
}

simd_fn! {
    fn norm_row<S, X, E>(s, x: &[X], weight: &[f32], bias: &[f32], eps: f32, out: &mut [E]) {
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

/// Where the gradients of the inputs go.
pub struct Grads<'a, E> {
    /// That of what was normalised, which is added to where its flag is set.
    pub sum: Option<(bool, &'a mut [f32])>,
    /// The same in the type of h, with drop path's factors.
    pub h: Option<&'a mut [E]>,
    /// These are added to.
    pub weight: Option<&'a mut [f32]>,
    pub bias: Option<&'a mut [f32]>,
}

/// Computes the gradients that are asked for. `sum` is what was normalised.
pub fn backward<X: Element, E: Element>(
    call: &Call,
    (sum, weight): (&[X], Option<&[f32]>),
    dout: &[E],
    grads: Grads<E>,
) {
    let (d, keep) = (call.d, call.keep());
    if dout.is_empty() {
        return;
    }
    let (dsum, dh) = (grads.sum.map(|(add, to)| (add, Disjoint::new(to))), grads.h.map(Disjoint::new));
    let weight = weight.filter(|_| dsum.is_some() || dh.is_some());
    // A piece of rows has its dweight and dbias side by side, or an unused number where nobody wants them.
    let wanted = grads.weight.is_some() || grads.bias.is_some();
    let width = if wanted { 2 * d } else { 1 };
    let mut sums = vec![0.0; call.rows.div_ceil(PIECE) * width];
    sums.par_chunks_mut(width).enumerate().for_each(|(piece, sums)| {
        for row in piece * PIECE..((piece + 1) * PIECE).min(call.rows) {
            let (r, dout) = (&sum[row * d..(row + 1) * d], &dout[row * d..(row + 1) * d]);
            let statistics = row_statistics(r, call.eps);
            if wanted {
                add_to_sums(r, dout, statistics, sums);
            }
            if let Some(weight) = weight {
                // SAFETY: this task alone has this row.
                let dsum = dsum.as_ref().map(|(add, to)| (*add, unsafe { to.slice(row * d, d) }));
                // SAFETY: as above.
                let dh = dh.as_ref().map(|to| unsafe { to.slice(row * d, d) });
                let keep = keep.map_or(1.0, |keep| keep[row / call.l]);
                through_row(r, weight, dout, statistics, dsum, keep, dh);
            }
        }
    });
    for (total, first) in [(grads.weight, 0), (grads.bias, d)] {
        let Some(total) = total else { continue };
        for sums in sums.chunks_exact(width) {
            total.iter_mut().zip(&sums[first..]).for_each(|(t, s)| *t += s);
        }
    }
}

simd_fn! {
    fn row_statistics<S, X>(s, x: &[X], eps: f32) -> (f32, f32) {
        statistics(s, x, eps)
    }
}

simd_fn! {
    /// Adds `dout n` to the first half of `sums` and `dout` to the second.
    fn add_to_sums<S, X, E>(s, r: &[X], dout: &[E], statistics: (f32, f32), sums: &mut [f32]) {
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
    /// Writes `(g - mean g - n mean (g n)) s` with `g = weight dout` to dsum, or adds it, and the result times `keep` to dh.
    fn through_row<S, X, E>(
        s, r: &[X], weight: &[f32], dout: &[E], statistics: (f32, f32), dsum: Option<(bool, &mut [f32])>, keep: f32,
        dh: Option<&mut [E]>,
    ) {
        let d = r.len();
        let (weight, dout) = (&weight[..d], &dout[..d]);
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
        let accumulate = matches!(dsum, Some((true, _)));
        let (mut dsum, mut dh) = (dsum.map(|(_, dsum)| &mut dsum[..d]), dh.map(|dh| &mut dh[..d]));
        let keep = s.splat(keep);
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: as above.
            unsafe {
                let n = s.mul(s.sub(s.read_at::<FULL>(r, i), mean), inverse);
                let g = s.mul(s.read_at::<FULL>(weight, i), s.read_at::<FULL>(dout, i));
                let through = s.fma(along, n, s.sub(g, plain));
                let before = match &dsum {
                    Some(dsum) if accumulate => s.read_at::<FULL>(dsum, i),
                    _ => s.splat(0.0),
                };
                let whole = s.fma(through, inverse, before);
                if let Some(dsum) = &mut dsum {
                    s.write_at::<FULL>(dsum, i, whole);
                }
                if let Some(dh) = &mut dh {
                    s.write_at::<FULL>(dh, i, s.mul(keep, whole));
                }
            }
        });
    }
}

/// Writes each image of `from`, multiplied by its factor.
pub fn scale_images<E: Element>(keep: Option<&[f32]>, from: &[f32], to: &mut [E]) {
    let keep = keep.unwrap_or(&[1.0]);
    let image = from.len() / keep.len().max(1);
    let images = to.par_chunks_mut(image.max(1)).zip(from.par_chunks(image.max(1))).zip(keep);
    images.for_each(|((to, from), keep)| {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = E::from_f32(keep * from))
    });
}
