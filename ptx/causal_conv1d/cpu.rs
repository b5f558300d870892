//! The convolution on the CPU: it walks token by token over all channels of an image, so that the K tokens in use stay
//! in the first-level cache. Bound by memory: x is read once, and two outputs are written.

use engine::simd::Simd;
use engine::{Element, Tensor, for_vectors, simd_fn};
use rayon::prelude::*;

use super::call::{Dims, MAX_WIDTH, at};
use crate::rows::{PIECE, sum_over_rows};

/// The filters of both directions: weights transposed to rows `[MAX_WIDTH e]`, zero beyond K, and biases.
pub(super) struct Filters<'a> {
    weight: [Vec<f32>; 2],
    bias: [&'a [f32]; 2],
}

impl<'a> Filters<'a> {
    /// From the inputs in recorded order.
    pub fn new(dims: Dims, values: &'a [Tensor]) -> Self {
        let transpose = |w: &[f32]| -> Vec<f32> {
            let mut rows = vec![0.0; MAX_WIDTH * dims.e];
            for (channel, taps) in w.chunks_exact(dims.k).enumerate() {
                taps.iter().enumerate().for_each(|(tap, w)| rows[tap * dims.e + channel] = *w);
            }
            rows
        };
        Filters {
            weight: [0, 1].map(|dir| transpose(values[at::weight(dir)].as_slice())),
            bias: [0, 1].map(|dir| values[at::bias(dir)].as_slice()),
        }
    }
}

/// The token that tap `k` of a direction reads for output `t`; beyond the ends there is none.
#[inline(always)]
fn source(dims: Dims, dir: usize, t: usize, k: usize) -> Option<usize> {
    let back = dims.k - 1 - k;
    if dir == 0 { t.checked_sub(back) } else { Some(t + back).filter(|&t| t < dims.l) }
}

/// The rows that the taps of a direction read for output `t`: `e` values each, `stride` apart, and zeros where there is
/// no token.
#[inline(always)]
fn taps<'a, E>(
    dims: Dims,
    rows: &'a [E],
    stride: usize,
    zeros: &'a [E],
    dir: usize,
    t: usize,
) -> [&'a [E]; MAX_WIDTH] {
    std::array::from_fn(|k| match (k < dims.k).then(|| source(dims, dir, t, k)).flatten() {
        Some(t) => &rows[t * stride..t * stride + dims.e],
        None => zeros,
    })
}

/// The weights of each tap of a direction, and the `e` values that they weigh.
struct Weighed<'a, E>([(&'a [f32], &'a [E]); MAX_WIDTH]);

impl Filters<'_> {
    /// The filter of a direction beside these rows.
    #[inline(always)]
    fn at<'a, E>(&'a self, dims: Dims, dir: usize, rows: [&'a [E]; MAX_WIDTH]) -> Weighed<'a, E> {
        let weight = &self.weight[dir];
        Weighed(std::array::from_fn(|k| (&weight[k * dims.e..][..dims.e], &rows[k][..dims.e])))
    }
}

impl<E: Element> Weighed<'_, E> {
    /// `start + sum_k w[k] rows[k]` at the channels from `i` on.
    /// # Safety
    /// With `FULL`, `i + LANES` must be at most `e`.
    #[inline(always)]
    unsafe fn sum<S: Simd, const FULL: bool>(&self, s: S, start: S::V, i: usize) -> S::V {
        let mut sum = start;
        for (weight, row) in self.0 {
            // SAFETY: both are `e` long.
            sum = unsafe { s.fma(s.read_at::<FULL>(weight, i), s.read_at::<FULL>(row, i), sum) };
        }
        sum
    }
}

/// Writes both outputs `[b l e]`.
pub(super) fn forward<E: Element>(dims: Dims, xz: &[E], filters: &Filters, u_f: &mut [E], u_b: &mut [E]) {
    let (image, zeros) = (dims.l * dims.e, vec![E::ZERO; dims.e]);
    let images = u_f.par_chunks_mut(image).zip(u_b.par_chunks_mut(image)).zip(xz.par_chunks(2 * image));
    images.for_each(|((u_f, u_b), xz)| {
        let pieces = u_f.par_chunks_mut(PIECE * dims.e).zip(u_b.par_chunks_mut(PIECE * dims.e)).enumerate();
        pieces.for_each(|(i, (u_f, u_b))| forward_tokens(dims, xz, filters, &zeros, i * PIECE, u_f, u_b));
    });
}

/// Writes the gradient of the sum under the SiLU of each direction to `dpre [b l e]`, from du, or from what is in its place
/// where there is no du. Writes dx to the first half of `dxz`, or adds it where the flag is set. Both are done image by
/// image, while the image is in cache.
pub(super) fn backward<E: Element>(
    dims: Dims,
    xz: &[E],
    filters: &Filters,
    du: [Option<&[E]>; 2],
    dpre: [&mut [f32]; 2],
    dxz: Option<(&mut [E], bool)>,
) {
    let (image, zeros, no_pre) = (dims.l * dims.e, vec![E::ZERO; dims.e], vec![0.0; dims.e]);
    let [dpre_f, dpre_b] = dpre.map(|dpre| dpre.par_chunks_mut(image));
    let images = dpre_f.zip(dpre_b).zip(xz.par_chunks(2 * image)).enumerate();
    let through = |i: usize, xz: &[E], dpre_f: &mut [f32], dpre_b: &mut [f32]| {
        let du = du.map(|du| du.map(|du| &du[i * image..(i + 1) * image]));
        through_silu_image(dims, xz, filters, &zeros, du, dpre_f, dpre_b);
    };
    match dxz {
        None => images.for_each(|(i, ((dpre_f, dpre_b), xz))| through(i, xz, dpre_f, dpre_b)),
        Some((dxz, add)) => {
            images.zip(dxz.par_chunks_mut(2 * image)).for_each(|((i, ((dpre_f, dpre_b), xz)), dxz)| {
                through(i, xz, dpre_f, dpre_b);
                grad_x_image(dims, [dpre_f, dpre_b], filters, &no_pre, dxz, add);
            })
        }
    }
}

/// Adds to `dweight [e 1 K]` of a direction, given the gradient of the sum under its SiLU.
pub(super) fn grad_weight<E: Element>(dims: Dims, xz: &[E], dpre: &[f32], dir: usize, dweight: &mut [f32]) {
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
    fn multiply_add<S, E>(s, a: &[f32], b: &[E], sum: &mut [f32]) {
        for i in (0..a.len()).step_by(S::LANES) {
            let v = s.fma(s.read(a, i), s.read(b, i), s.read(sum, i));
            s.write(sum, i, v);
        }
    }
}

simd_fn! {
    fn forward_tokens<S, E>(
        s, dims: Dims, xz: &[E], filters: &Filters, zeros: &[E], first: usize, u_f: &mut [E], u_b: &mut [E],
    ) {
        let e = dims.e;
        let bias = filters.bias.map(|bias| &bias[..e]);
        for (t, (u_f, u_b)) in u_f.chunks_exact_mut(e).zip(u_b.chunks_exact_mut(e)).enumerate() {
            let [f, b] = [0, 1].map(|dir| filters.at(dims, dir, taps(dims, xz, 2 * e, zeros, dir, first + t)));
            for_vectors!(S, e, |i, FULL| {
                // SAFETY: every row is `e` long, a full vector ends within it.
                unsafe {
                    let f = f.sum::<S, FULL>(s, s.read_at::<FULL>(bias[0], i), i);
                    let b = b.sum::<S, FULL>(s, s.read_at::<FULL>(bias[1], i), i);
                    s.write_at::<FULL>(u_f, i, s.silu(f));
                    s.write_at::<FULL>(u_b, i, s.silu(b));
                }
            });
        }
    }
}

simd_fn! {
    fn through_silu_image<S, E>(
        s, dims: Dims, xz: &[E], filters: &Filters, zeros: &[E], du: [Option<&[E]>; 2], dpre_f: &mut [f32],
        dpre_b: &mut [f32],
    ) {
        let e = dims.e;
        let bias = filters.bias.map(|bias| &bias[..e]);
        for (t, (dpre_f, dpre_b)) in dpre_f.chunks_exact_mut(e).zip(dpre_b.chunks_exact_mut(e)).enumerate() {
            let [f, b] = [0, 1].map(|dir| filters.at(dims, dir, taps(dims, xz, 2 * e, zeros, dir, t)));
            let [du_f, du_b] = du.map(|du| du.map(|du| &du[t * e..(t + 1) * e]));
            for_vectors!(S, e, |i, FULL| {
                // SAFETY: as in `forward_tokens`.
                unsafe {
                    let f = f.sum::<S, FULL>(s, s.read_at::<FULL>(bias[0], i), i);
                    let b = b.sum::<S, FULL>(s, s.read_at::<FULL>(bias[1], i), i);
                    let (f, b) = (s.silu_and_grad(f).1, s.silu_and_grad(b).1);
                    let f = s.mul(given::<S, E, FULL>(s, du_f, dpre_f, i), f);
                    let b = s.mul(given::<S, E, FULL>(s, du_b, dpre_b, i), b);
                    s.write_at::<FULL>(dpre_f, i, f);
                    s.write_at::<FULL>(dpre_b, i, b);
                }
            });
        }
    }
}

/// A row of du from channel `i` on, or of what is in its place.
/// # Safety
/// With `FULL`, both rows must hold elements `i..i + LANES`.
#[inline(always)]
unsafe fn given<S: Simd, E: Element, const FULL: bool>(
    s: S,
    du: Option<&[E]>,
    place: &[f32],
    i: usize,
) -> S::V {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        match du {
            Some(du) => s.read_at::<FULL>(du, i),
            None => s.read_at::<FULL>(place, i),
        }
    }
}

simd_fn! {
    fn grad_x_image<S, E>(
        s, dims: Dims, dpre: [&[f32]; 2], filters: &Filters, zeros: &[f32], dxz: &mut [E], add: bool,
    ) {
        let e = dims.e;
        for (t, dxz) in dxz.chunks_exact_mut(2 * e).enumerate() {
            let dx = &mut dxz[..e];
            // Output t + (K-1) - k of the forward direction reads x[t] with tap k: directions change places.
            let [f, b] = [0, 1].map(|dir| filters.at(dims, dir, taps(dims, dpre[dir], e, zeros, 1 - dir, t)));
            for_vectors!(S, e, |i, FULL| {
                // SAFETY: as in `forward_tokens`.
                unsafe {
                    let start = if add { s.read_at::<FULL>(dx, i) } else { s.splat(0.0) };
                    let sum = b.sum::<S, FULL>(s, f.sum::<S, FULL>(s, start, i), i);
                    s.write_at::<FULL>(dx, i, sum);
                }
            });
        }
    }
}
