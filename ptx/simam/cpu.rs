//! SimAM on the CPU: each task takes one channel of one image.

use engine::simd::Simd;
use engine::{Element, simd_fn};
use rayon::prelude::*;

/// Pixels that are summed in f32; sums of blocks are added in f64.
const BLOCK: usize = 1 << 12;
/// The published regularisation of the variance.
const LAMBDA: f64 = 1e-3;

/// Of a channel: its mean, and `1 / 4w` with the regularised variance w.
struct Statistics {
    mean: f32,
    scale: f32,
}

impl Statistics {
    fn of<E: Element>(x: &[E]) -> Self {
        let mean = (x.chunks(BLOCK).map(|x| f64::from(sum(x))).sum::<f64>() / x.len() as f64) as f32;
        let squares: f64 = x.chunks(BLOCK).map(|x| f64::from(sum_squares(mean, x))).sum();
        Statistics { mean, scale: (0.25 / (squares / (x.len() - 1) as f64 + LAMBDA)) as f32 }
    }
}

/// Writes y, channel by channel.
pub fn forward<E: Element>(pixels: usize, x: &[E], y: &mut [E]) {
    y.par_chunks_mut(pixels).zip(x.par_chunks(pixels)).for_each(|(y, x)| {
        let Statistics { mean, scale } = Statistics::of(x);
        weigh(mean, scale, x, y);
    });
}

/// Turns dy into dx in place.
pub fn backward<E: Element>(pixels: usize, x: &[E], dy: &mut [E]) {
    dy.par_chunks_mut(pixels).zip(x.par_chunks(pixels)).for_each(|(dy, x)| {
        let Statistics { mean, scale } = Statistics::of(x);
        let (mut g_q, mut g_centred) = (0.0, 0.0);
        for (x, dy) in x.chunks(BLOCK).zip(dy.chunks(BLOCK)) {
            let (a, b) = grad_sums(mean, scale, x, dy);
            (g_q, g_centred) = (g_q + f64::from(a), g_centred + f64::from(b));
        }
        // dq is g - through_w. Of its way through the mean only g counts, since the centred values sum to zero.
        let through_w = 4.0 * f64::from(scale) * g_q / (pixels - 1) as f64;
        let through_mean = 2.0 * g_centred / pixels as f64;
        grad(mean, scale, through_w as f32, through_mean as f32, x, dy);
    });
}

simd_fn! {
    fn sum<S, E>(s, x: &[E]) -> f32 {
        let mut sum = s.splat(0.0);
        for i in (0..x.len()).step_by(S::LANES) {
            sum = s.add(sum, s.read(x, i));
        }
        s.sum(sum)
    }
}

simd_fn! {
    /// The sum of `(x - mean)^2`.
    fn sum_squares<S, E>(s, mean: f32, x: &[E]) -> f32 {
        let mut sum = s.splat(0.0);
        let whole = x.len() / S::LANES * S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let centred = s.sub(s.read(x, i), s.splat(mean));
            sum = s.fma(centred, centred, sum);
        }
        s.sum(sum) + x[whole..].iter().map(|x| (x.to_f32() - mean) * (x.to_f32() - mean)).sum::<f32>()
    }
}

/// `x - mean` and `sigmoid(e)`.
#[inline(always)]
fn centred_and_weight<S: Simd>(s: S, mean: f32, scale: f32, x: S::V) -> (S::V, S::V) {
    let centred = s.sub(x, s.splat(mean));
    let e = s.fma(s.mul(centred, centred), s.splat(scale), s.splat(0.5));
    (centred, s.sigmoid(e))
}

/// `x - mean`, `sigmoid(e)` and g.
#[inline(always)]
fn grad_parts<S: Simd>(s: S, mean: f32, scale: f32, x: S::V, dy: S::V) -> (S::V, S::V, S::V) {
    let (centred, weight) = centred_and_weight(s, mean, scale, x);
    let slope = s.mul(weight, s.sub(s.splat(1.0), weight));
    (centred, weight, s.mul(s.mul(s.mul(dy, x), slope), s.splat(scale)))
}

simd_fn! {
    fn weigh<S, E>(s, mean: f32, scale: f32, x: &[E], y: &mut [E]) {
        for i in (0..x.len()).step_by(S::LANES) {
            let x = s.read(x, i);
            let (_, weight) = centred_and_weight(s, mean, scale, x);
            s.write(y, i, s.mul(x, weight));
        }
    }
}

simd_fn! {
    /// `sum g q` and `sum g (x - mean)`. Lanes beyond the end have g = 0.
    fn grad_sums<S, E>(s, mean: f32, scale: f32, x: &[E], dy: &[E]) -> (f32, f32) {
        let (mut g_q, mut g_centred) = (s.splat(0.0), s.splat(0.0));
        for i in (0..x.len()).step_by(S::LANES) {
            let (centred, _, g) = grad_parts(s, mean, scale, s.read(x, i), s.read(dy, i));
            let product = s.mul(g, centred);
            g_centred = s.add(g_centred, product);
            g_q = s.fma(product, centred, g_q);
        }
        (s.sum(g_q), s.sum(g_centred))
    }
}

simd_fn! {
    /// Turns dy into `dx = dy s + 2 (x - mean) (g - through_w) - through_mean`.
    fn grad<S, E>(s, mean: f32, scale: f32, through_w: f32, through_mean: f32, x: &[E], dy: &mut [E]) {
        for i in (0..x.len()).step_by(S::LANES) {
            let dy_here = s.read(dy, i);
            let (centred, weight, g) = grad_parts(s, mean, scale, s.read(x, i), dy_here);
            let dq = s.sub(g, s.splat(through_w));
            let dx = s.fma(s.mul(s.splat(2.0), centred), dq, s.splat(-through_mean));
            s.write(dy, i, s.fma(dy_here, weight, dx));
        }
    }
}
