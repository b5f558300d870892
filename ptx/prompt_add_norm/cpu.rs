//! Prompt add, residual add and norm on the CPU: one pass over the rows, one token at a time. Bound by memory.

use engine::simd_fn;
use rayon::prelude::*;

use super::{EPS, Inputs, PromptIn};
use crate::rows::{PIECE, sum_over_rows};

/// Writes the sum and the normalised sum.
pub(super) fn forward(inputs: &Inputs, sum: &mut [f32], out: &mut [f32]) {
    let d = inputs.dims.d;
    let pieces = sum.par_chunks_mut(PIECE * d).zip(out.par_chunks_mut(PIECE * d)).enumerate();
    pieces.for_each(|(piece, (sum, out))| {
        for (i, (sum, out)) in sum.chunks_exact_mut(d).zip(out.chunks_exact_mut(d)).enumerate() {
            forward_row(inputs, piece * PIECE + i, sum, out);
        }
    });
}

impl Inputs<'_> {
    fn keep(&self, row: usize) -> f32 {
        self.keep.map_or(1.0, |keep| keep[row / self.dims.l])
    }

    fn prompted(&self, row: usize) -> bool {
        self.dims.skip != Some(row % self.dims.l)
    }
}

simd_fn! {
    fn forward_row<S>(s, inputs: &Inputs, row: usize, sum: &mut [f32], out: &mut [f32]) {
        let d = inputs.dims.d;
        let at = row * d..(row + 1) * d;
        let h = &inputs.h[at.clone()];
        let keep = s.splat(inputs.keep(row));
        let mut squares = s.splat(0.0);
        for i in (0..d).step_by(S::LANES) {
            let mut v = s.read(h, i);
            if inputs.prompted(row) {
                for p in &inputs.prompts {
                    let q = s.add(s.read(&p.generated[at.clone()], i), s.read(p.bias, i));
                    v = s.fma(s.read(p.scale, i), s.silu(q), v);
                }
            }
            v = match inputs.residual {
                Some(residual) => s.fma(keep, v, s.read(&residual[at.clone()], i)),
                None => s.mul(keep, v),
            };
            squares = s.fma(v, v, squares);
            s.write(sum, i, v);
        }
        let scale = s.splat(inverse_rms(s.sum(squares), d));
        for i in (0..d).step_by(S::LANES) {
            let v = s.mul(s.mul(s.read(sum, i), scale), s.read(inputs.weight, i));
            s.write(out, i, v);
        }
    }
}

fn inverse_rms(squares: f32, d: usize) -> f32 {
    1.0 / (squares / d as f32 + EPS as f32).sqrt()
}

/// Adds to `dsum` what comes through the norm, and to `dweight` its gradient when asked. The inputs' `residual`
/// is the sum that was normalised.
pub(super) fn backward_norm(inputs: &Inputs, dout: &[f32], dsum: &mut [f32], dweight: Option<&mut [f32]>) {
    let d = inputs.dims.d;
    let sum = inputs.h;
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
    /// dr += s w dy - s^3 r mean(r w dy), s = 1 / rms.
    fn backward_norm_row<S>(s, weight: &[f32], r: &[f32], dy: &[f32], dr: &mut [f32]) {
        let d = r.len();
        let (mut squares, mut product) = (s.splat(0.0), s.splat(0.0));
        for i in (0..d).step_by(S::LANES) {
            let v = s.read(r, i);
            squares = s.fma(v, v, squares);
            product = s.fma(v, s.mul(s.read(weight, i), s.read(dy, i)), product);
        }
        let scale = inverse_rms(s.sum(squares), d);
        let mean = s.sum(product) / d as f32;
        let (scale, along) = (s.splat(scale), s.splat(-scale * scale * scale * mean));
        for i in (0..d).step_by(S::LANES) {
            let through = s.mul(scale, s.mul(s.read(weight, i), s.read(dy, i)));
            let v = s.add(s.read(dr, i), s.fma(along, s.read(r, i), through));
            s.write(dr, i, v);
        }
    }
}

simd_fn! {
    /// dweight += dy r / rms.
    fn weight_row<S>(s, r: &[f32], dy: &[f32], dweight: &mut [f32]) {
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

/// The gradients of prompt `which`: written to (or added to, when told) `dgenerated`, added to `dbias` and `dscale`.
pub(super) fn backward_prompt(
    inputs: &Inputs,
    which: usize,
    dsum: &[f32],
    dgenerated: Option<(bool, &mut [f32])>,
    dbias: Option<&mut [f32]>,
    dscale: Option<&mut [f32]>,
) {
    let (d, rows) = (inputs.dims.d, inputs.dims.b * inputs.dims.l);
    let prompt = inputs.prompts[which];
    if let Some((accumulate, dgenerated)) = dgenerated {
        dgenerated.par_chunks_mut(PIECE * d).enumerate().for_each(|(piece, to)| {
            for (i, to) in to.chunks_exact_mut(d).enumerate() {
                let row = piece * PIECE + i;
                if !accumulate {
                    to.fill(0.0);
                }
                if inputs.prompted(row) {
                    generated_row(inputs.keep(row), prompt.row(row), &dsum[row * d..(row + 1) * d], to);
                }
            }
        });
    }
    let sum = |to: Option<&mut [f32]>, add: fn(f32, PromptIn, &[f32], &mut [f32])| {
        let Some(to) = to else { return };
        sum_over_rows(rows, d, to, |rows, total| {
            for row in rows.filter(|&row| inputs.prompted(row)) {
                add(inputs.keep(row), prompt.row(row), &dsum[row * d..(row + 1) * d], total);
            }
        });
    };
    // The bias takes the sum of what the generated values get.
    sum(dbias, generated_row);
    sum(dscale, scale_row);
}

impl PromptIn<'_> {
    /// With one row of the generated values.
    fn row(self, row: usize) -> Self {
        let d = self.bias.len();
        PromptIn { generated: &self.generated[row * d..(row + 1) * d], ..self }
    }
}

simd_fn! {
    /// to += keep dsum scale silu'(generated + bias)
    fn generated_row<S>(s, keep: f32, prompt: PromptIn, dsum: &[f32], to: &mut [f32]) {
        for i in (0..to.len()).step_by(S::LANES) {
            let q = s.add(s.read(prompt.generated, i), s.read(prompt.bias, i));
            let (_, slope) = s.silu_and_grad(q);
            let g = s.mul(s.splat(keep), s.read(dsum, i));
            let v = s.fma(g, s.mul(s.read(prompt.scale, i), slope), s.read(to, i));
            s.write(to, i, v);
        }
    }
}

simd_fn! {
    /// dscale += keep dsum silu(generated + bias)
    fn scale_row<S>(s, keep: f32, prompt: PromptIn, dsum: &[f32], dscale: &mut [f32]) {
        for i in (0..dscale.len()).step_by(S::LANES) {
            let q = s.add(s.read(prompt.generated, i), s.read(prompt.bias, i));
            let g = s.mul(s.splat(keep), s.read(dsum, i));
            let v = s.fma(g, s.silu(q), s.read(dscale, i));
            s.write(dscale, i, v);
        }
    }
}

/// Multiplies each image by its factor.
pub(super) fn scale_images(keep: &[f32], grad: &mut [f32]) {
    let image = grad.len() / keep.len();
    let images = grad.par_chunks_mut(image).zip(keep);
    images.for_each(|(grad, keep)| grad.iter_mut().for_each(|g| *g *= keep));
}
