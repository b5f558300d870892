//! The convolution on the CPU: token by token over all channels of an image, so that the K tokens in use stay in
//! the first-level cache. Bound by memory: x read once, two outputs written.

use engine::simd::Simd;
use engine::{Tensor, simd_fn};
use rayon::prelude::*;

use super::{Dims, MAX_WIDTH};
use crate::rows::sum_over_rows;

/// Weights transposed to `[K e]` and biases, both directions.
pub(super) struct Filters<'a> {
    weight: [Vec<f32>; 2],
    bias: [&'a [f32]; 2],
}

impl<'a> Filters<'a> {
    /// From `xz, weight_f, bias_f, weight_b, bias_b`.
    pub fn new(dims: Dims, values: &'a [Tensor]) -> Self {
        let transpose = |w: &[f32]| -> Vec<f32> {
            (0..dims.k * dims.e).map(|i| w[i % dims.e * dims.k + i / dims.e]).collect()
        };
        Filters {
            weight: [transpose(values[1].as_slice()), transpose(values[3].as_slice())],
            bias: [values[2].as_slice(), values[4].as_slice()],
        }
    }
}

/// The token that tap `k` of a direction reads for output `t`, if there is one.
#[inline(always)]
fn source(dims: Dims, dir: usize, t: usize, k: usize) -> Option<usize> {
    let back = dims.k - 1 - k;
    if dir == 0 { t.checked_sub(back) } else { Some(t + back).filter(|&t| t < dims.l) }
}

pub(super) fn forward(dims: Dims, xz: &[f32], filters: &Filters, u_f: &mut [f32], u_b: &mut [f32]) {
    let image = dims.l * dims.e;
    let images = u_f.par_chunks_mut(image).zip(u_b.par_chunks_mut(image)).zip(xz.par_chunks(2 * image));
    images.for_each(|((u_f, u_b), xz)| forward_image(dims, xz, filters, u_f, u_b));
}

/// Turns du into the gradient of the sum under the SiLU, in place.
pub(super) fn through_silu(dims: Dims, xz: &[f32], filters: &Filters, du_f: &mut [f32], du_b: &mut [f32]) {
    let image = dims.l * dims.e;
    let images = du_f.par_chunks_mut(image).zip(du_b.par_chunks_mut(image)).zip(xz.par_chunks(2 * image));
    images.for_each(|((du_f, du_b), xz)| through_silu_image(dims, xz, filters, du_f, du_b));
}

/// Writes (or adds) dx into the first half of `dxz`; the second half becomes zero unless adding.
pub(super) fn grad_x(dims: Dims, dpre: [&[f32]; 2], filters: &Filters, dxz: &mut [f32], accumulate: bool) {
    let image = dims.l * dims.e;
    let images = dxz.par_chunks_mut(2 * image).zip(dpre[0].par_chunks(image)).zip(dpre[1].par_chunks(image));
    images.for_each(|((dxz, f), b)| grad_x_image(dims, [f, b], filters, dxz, accumulate));
}

/// Adds to `dweight [e 1 K]`.
pub(super) fn grad_weight(dims: Dims, xz: &[f32], dpre: &[f32], dir: usize, dweight: &mut [f32]) {
    let Dims { b, l, e, k } = dims;
    let mut sum = vec![0.0; k * e];
    sum_over_rows(b * l, k * e, &mut sum, |rows, sum| {
        for row in rows {
            for (tap, sum) in sum.chunks_exact_mut(e).enumerate() {
                if let Some(t) = source(dims, dir, row % l, tap) {
                    let x = (row / l * l + t) * 2 * e;
                    multiply_add(&dpre[row * e..(row + 1) * e], &xz[x..x + e], sum);
                }
            }
        }
    });
    for (i, sum) in sum.iter().enumerate() {
        dweight[i % e * k + i / e] += sum;
    }
}

simd_fn! {
    fn multiply_add<S>(s, a: &[f32], b: &[f32], sum: &mut [f32]) {
        for i in (0..a.len()).step_by(S::LANES) {
            let v = s.fma(s.read(a, i), s.read(b, i), s.read(sum, i));
            s.write(sum, i, v);
        }
    }
}

/// The sum under the SiLU of one direction at a token, channels from `i`.
#[inline(always)]
fn pre<S: Simd>(s: S, dims: Dims, xz: &[f32], filters: &Filters, dir: usize, t: usize, i: usize) -> S::V {
    let mut sum = s.read(filters.bias[dir], i);
    for k in 0..dims.k.min(MAX_WIDTH) {
        if let Some(t) = source(dims, dir, t, k) {
            let x = s.read(&xz[..t * 2 * dims.e + dims.e], t * 2 * dims.e + i);
            sum = s.fma(s.read(&filters.weight[dir][..(k + 1) * dims.e], k * dims.e + i), x, sum);
        }
    }
    sum
}

simd_fn! {
    fn forward_image<S>(s, dims: Dims, xz: &[f32], filters: &Filters, u_f: &mut [f32], u_b: &mut [f32]) {
        for t in 0..dims.l {
            let row = t * dims.e..(t + 1) * dims.e;
            for i in (0..dims.e).step_by(S::LANES) {
                s.write(&mut u_f[row.clone()], i, s.silu(pre(s, dims, xz, filters, 0, t, i)));
                s.write(&mut u_b[row.clone()], i, s.silu(pre(s, dims, xz, filters, 1, t, i)));
            }
        }
    }
}

simd_fn! {
    fn through_silu_image<S>(s, dims: Dims, xz: &[f32], filters: &Filters, du_f: &mut [f32], du_b: &mut [f32]) {
        for t in 0..dims.l {
            let row = t * dims.e..(t + 1) * dims.e;
            for i in (0..dims.e).step_by(S::LANES) {
                for (dir, du) in [&mut *du_f, &mut *du_b].into_iter().enumerate() {
                    let (_, slope) = s.silu_and_grad(pre(s, dims, xz, filters, dir, t, i));
                    let du = &mut du[row.clone()];
                    let g = s.mul(s.read(du, i), slope);
                    s.write(du, i, g);
                }
            }
        }
    }
}

simd_fn! {
    fn grad_x_image<S>(s, dims: Dims, dpre: [&[f32]; 2], filters: &Filters, dxz: &mut [f32], accumulate: bool) {
        let e = dims.e;
        for t in 0..dims.l {
            let (dx, dz) = dxz[t * 2 * e..(t + 1) * 2 * e].split_at_mut(e);
            for i in (0..e).step_by(S::LANES) {
                let mut sum = if accumulate { s.read(dx, i) } else { s.splat(0.0) };
                for dir in 0..2 {
                    for k in 0..dims.k.min(MAX_WIDTH) {
                        // Output t + back of the forward direction reads x[t] with tap k: the other way round.
                        if let Some(t) = source(dims, 1 - dir, t, k) {
                            let g = s.read(&dpre[dir][..(t + 1) * e], t * e + i);
                            sum = s.fma(s.read(&filters.weight[dir][..(k + 1) * e], k * e + i), g, sum);
                        }
                    }
                }
                s.write(dx, i, sum);
            }
            if !accumulate {
                dz.fill(0.0);
            }
        }
    }
}
