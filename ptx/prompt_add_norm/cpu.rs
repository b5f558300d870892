//! Prompt add, residual add and norm on the CPU: one pass over the rows, a token at a time. Bound by memory.

use engine::{Element, for_vectors, simd_fn};
use rayon::prelude::*;

use super::call::{EPS, Inputs, MAX_PROMPTS, PromptIn};
use crate::rows::{PIECE, sum_over_rows};

/// Writes the sum and the normalised sum.
pub(super) fn forward<E: Element>(inputs: &Inputs<E>, h: &[E], sum: &mut [f32], out: &mut [E]) {
    let d = inputs.dims.d;
    let pieces = sum.par_chunks_mut(PIECE * d).zip(out.par_chunks_mut(PIECE * d)).enumerate();
    pieces.for_each(|(piece, (sum, out))| {
        for (i, (sum, out)) in sum.chunks_exact_mut(d).zip(out.chunks_exact_mut(d)).enumerate() {
            let row = piece * PIECE + i;
            forward_row(inputs, row, &h[row * d..(row + 1) * d], sum, out);
        }
    });
}

impl<E> Inputs<'_, E> {
    /// Drop path's factor of a row.
    fn keep(&self, row: usize) -> f32 {
        self.keep.map_or(1.0, |keep| keep[row / self.dims.l])
    }

    /// Whether a row gets prompts.
    fn prompted(&self, row: usize) -> bool {
        self.dims.skip != Some(row % self.dims.l)
    }
}

simd_fn! {
    fn forward_row<S, E>(s, inputs: &Inputs<E>, row: usize, h: &[E], sum: &mut [f32], out: &mut [E]) {
        let d = inputs.dims.d;
        let keep = s.splat(inputs.keep(row));
        let (h, sum, out, weight) = (&h[..d], &mut sum[..d], &mut out[..d], &inputs.weight[..d]);
        let residual = inputs.residual.map(|residual| &residual[row * d..(row + 1) * d]);
        let mut squares = s.splat(0.0);
        let none = [PromptIn { generated: h, bias: weight, scale: weight }; MAX_PROMPTS];
        let (mut prompts, mut count) = (none, 0);
        if inputs.prompted(row) {
            for prompt in &inputs.prompts {
                let prompt = prompt.row(row);
                prompts[count] = PromptIn { bias: &prompt.bias[..d], scale: &prompt.scale[..d], ..prompt };
                count += 1;
            }
        }
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: every slice is `d` long, a full vector ends within it.
            unsafe {
                let mut v = s.read_at::<FULL>(h, i);
                for p in &prompts[..count] {
                    let q = s.add(s.read_at::<FULL>(p.generated, i), s.read_at::<FULL>(p.bias, i));
                    v = s.fma(s.read_at::<FULL>(p.scale, i), s.silu(q), v);
                }
                v = match residual {
                    Some(residual) => s.fma(keep, v, s.read_at::<FULL>(residual, i)),
                    None => s.mul(keep, v),
                };
                squares = s.fma(v, v, squares);
                s.write_at::<FULL>(sum, i, v);
            }
        });
        let scale = s.splat(inverse_rms(s.sum(squares), d));
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: as above.
            unsafe {
                let v = s.mul(s.mul(s.read_at::<FULL>(sum, i), scale), s.read_at::<FULL>(weight, i));
                s.write_at::<FULL>(out, i, v);
            }
        });
    }
}

fn inverse_rms(squares: f32, d: usize) -> f32 {
    1.0 / (squares / d as f32 + EPS as f32).sqrt()
}

/// Adds to `dsum` what comes through the norm of `sum`, and to `dweight` its gradient when asked.
pub(super) fn backward_norm<E: Element>(
    inputs: &Inputs<E>,
    sum: &[f32],
    dout: &[E],
    dsum: &mut [f32],
    dweight: Option<&mut [f32]>,
) {
    let d = inputs.dims.d;
    dsum.par_chunks_mut(PIECE * d).enumerate().for_each(|(piece, dsum)| {
        for (i, dsum) in dsum.chunks_exact_mut(d).enumerate() {
            let at = (piece * PIECE + i) * d;
            backward_norm_row(inputs.weight, &sum[at..at + d], &dout[at..at + d], dsum);
        }
    });
    if let Some(dweight) = dweight {
        sum_over_rows(inputs.dims.b * inputs.dims.l, d, dweight, |rows, total| {
            for at in rows.map(|row| row * d) {
                weight_row(&sum[at..at + d], &dout[at..at + d], total);
            }
        });
    }
}

simd_fn! {
    /// `dr += s w dy - s^3 r mean(r w dy)`, with `s = 1 / rms`.
    fn backward_norm_row<S, E>(s, weight: &[f32], r: &[f32], dy: &[E], dr: &mut [f32]) {
        let d = r.len();
        let (weight, dy, dr) = (&weight[..d], &dy[..d], &mut dr[..d]);
        let (mut squares, mut product) = (s.splat(0.0), s.splat(0.0));
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: every slice is `d` long, a full vector ends within it.
            unsafe {
                let v = s.read_at::<FULL>(r, i);
                squares = s.fma(v, v, squares);
                let through = s.mul(s.read_at::<FULL>(weight, i), s.read_at::<FULL>(dy, i));
                product = s.fma(v, through, product);
            }
        });
        let scale = inverse_rms(s.sum(squares), d);
        let mean = s.sum(product) / d as f32;
        let (scale, along) = (s.splat(scale), s.splat(-scale * scale * scale * mean));
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: as above.
            unsafe {
                let through = s.mul(s.read_at::<FULL>(weight, i), s.read_at::<FULL>(dy, i));
                let through = s.fma(along, s.read_at::<FULL>(r, i), s.mul(scale, through));
                s.write_at::<FULL>(dr, i, s.add(s.read_at::<FULL>(dr, i), through));
            }
        });
    }
}

simd_fn! {
    /// `dweight += dy r / rms`
    fn weight_row<S, E>(s, r: &[f32], dy: &[E], dweight: &mut [f32]) {
        let mut squares = s.splat(0.0);
        for i in (0..r.len()).step_by(S::LANES) {
            squares = s.fma(s.read(r, i), s.read(r, i), squares);
        }
        let scale = s.splat(inverse_rms(s.sum(squares), r.len()));
        for i in (0..r.len()).step_by(S::LANES) {
            let v = s.fma(s.mul(s.read(dy, i), scale), s.read(r, i), s.read(dweight, i));
            s.write(dweight, i, v);
        }
    }
}

/// Computes the gradients of prompt `which`. That of its generated values is written to `dgenerated`, or added where
/// its flag is set; the others are added to `dbias` and `dscale`.
pub(super) fn backward_prompt<E: Element>(
    inputs: &Inputs<E>,
    which: usize,
    dsum: &[f32],
    dgenerated: Option<(bool, &mut [E])>,
    dbias: Option<&mut [f32]>,
    dscale: Option<&mut [f32]>,
) {
    let (d, rows) = (inputs.dims.d, inputs.dims.b * inputs.dims.l);
    let prompt = inputs.prompts[which];
    // One pass, since all three need the same exponential. A piece has its dbias and dscale side by side.
    let mut sums = vec![0.0; rows.div_ceil(PIECE) * 2 * d];
    let piece = |piece: usize, sums: &mut [f32], accumulate: bool, mut to: Option<&mut [E]>| {
        let mut unwanted = vec![E::ZERO; if to.is_none() { d } else { 0 }];
        for row in piece * PIECE..((piece + 1) * PIECE).min(rows) {
            let to = match &mut to {
                Some(to) => &mut to[row % PIECE * d..][..d],
                None => &mut unwanted,
            };
            if inputs.prompted(row) {
                let dsum = &dsum[row * d..(row + 1) * d];
                prompt_row(inputs.keep(row), prompt.row(row), dsum, accumulate, to, sums);
            } else if !accumulate {
                to.fill(E::ZERO);
            }
        }
    };
    let pieces = sums.par_chunks_mut(2 * d).enumerate();
    match dgenerated {
        None => pieces.for_each(|(i, sums)| piece(i, sums, false, None)),
        Some((accumulate, to)) => pieces
            .zip(to.par_chunks_mut(PIECE * d))
            .for_each(|((i, sums), to)| piece(i, sums, accumulate, Some(to))),
    }
    for (total, first) in [(dbias, 0), (dscale, d)] {
        let Some(total) = total else { continue };
        for sums in sums.chunks_exact(2 * d) {
            total.iter_mut().zip(&sums[first..]).for_each(|(t, s)| *t += s);
        }
    }
}

impl<E: Copy> PromptIn<'_, E> {
    /// The same prompt with one row of its generated values.
    fn row(self, row: usize) -> Self {
        let d = self.bias.len();
        PromptIn { generated: &self.generated[row * d..(row + 1) * d], ..self }
    }
}

simd_fn! {
    /// Writes `keep dsum scale silu'(generated + bias)` to `to`, or adds it, and adds it to the first half of `sums` as
    /// well. To the second half goes `keep dsum silu(generated + bias)`.
    fn prompt_row<S, E>(
        s, keep: f32, prompt: PromptIn<E>, dsum: &[f32], accumulate: bool, to: &mut [E], sums: &mut [f32],
    ) {
        let d = to.len();
        let (dbias, dscale) = sums.split_at_mut(d);
        let (generated, bias, scale) = (&prompt.generated[..d], &prompt.bias[..d], &prompt.scale[..d]);
        let (dsum, dscale) = (&dsum[..d], &mut dscale[..d]);
        let keep = s.splat(keep);
        for_vectors!(S, d, |i, FULL| {
            // SAFETY: every slice is `d` long, a full vector ends within it.
            unsafe {
                let q = s.add(s.read_at::<FULL>(generated, i), s.read_at::<FULL>(bias, i));
                let (value, slope) = s.silu_and_grad(q);
                let g = s.mul(keep, s.read_at::<FULL>(dsum, i));
                let dq = s.mul(g, s.mul(s.read_at::<FULL>(scale, i), slope));
                let sum = if accumulate { s.add(s.read_at::<FULL>(to, i), dq) } else { dq };
                s.write_at::<FULL>(to, i, sum);
                s.write_at::<FULL>(dbias, i, s.add(s.read_at::<FULL>(dbias, i), dq));
                s.write_at::<FULL>(dscale, i, s.fma(g, value, s.read_at::<FULL>(dscale, i)));
            }
        });
    }
}

/// Writes each row of `from`, multiplied by drop path's factor.
pub(super) fn scale_rows<E: Element>(inputs: &Inputs<E>, from: &[f32], to: &mut [E]) {
    let d = inputs.dims.d;
    to.par_chunks_mut(PIECE * d).zip(from.par_chunks(PIECE * d)).enumerate().for_each(
        |(piece, (to, from))| {
            for (i, (to, from)) in to.chunks_exact_mut(d).zip(from.chunks_exact(d)).enumerate() {
                scale_row(inputs.keep(piece * PIECE + i), from, to);
            }
        },
    );
}

simd_fn! {
    fn scale_row<S, E>(s, keep: f32, from: &[f32], to: &mut [E]) {
        for i in (0..from.len()).step_by(S::LANES) {
            s.write(to, i, s.mul(s.splat(keep), s.read(from, i)));
        }
    }
}
