//! Attention on the CPU: a task for each head of each image, which takes its queries in tiles whose scores stay in the cache.
//! The products are the engine's GEMM; between them the softmax and its gradient run along the rows of a tile. Scores and
//! what products add up are f32. Powers, probabilities and gradients of scores are rounded to the type of qkv before they are
//! multiplied, and take the place of the f32 in the row of a tile from which they are made.

use engine::gemm::{Mat, MatElement, gemm_serial};
use engine::simd::Simd;
use engine::{DType, Element, simd_fn};
use rayon::prelude::*;

use super::call::{Call, Dims};
use crate::disjoint::Disjoint;
use crate::rows::{add_times, write_times};

/// Most elements of a tile of scores: 128 KiB, so that two fit into a second-level cache beside the rows that they are made
/// of.
const TILE: usize = 1 << 15;

/// The most lanes of a vector.
const LANES: usize = 16;

/// One head of one image, over the values of a call.
#[derive(Clone, Copy)]
struct Head<'a, E> {
    dims: Dims,
    image: usize,
    head: usize,
    qkv: &'a [E],
    /// The extra rows of this head, `[n c]`.
    extra: &'a [E],
    /// What a product of query and key is multiplied by.
    factor: f32,
}

/// The thirds of qkv.
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;

impl Dims {
    /// Elements between two rows of qkv.
    fn ld(self) -> usize {
        3 * self.d()
    }

    /// Rows of a tile: all tiles have the same number but the last, which may have less.
    fn tile(self) -> usize {
        let most = (TILE / self.keys().max(1)).max(1);
        self.l.div_ceil(self.l.div_ceil(most).max(1)).max(1)
    }

    /// Where a row of a third of qkv begins.
    fn at(self, third: usize, image: usize, head: usize, row: usize) -> usize {
        (image * self.l + row) * self.ld() + third * self.d() + head * self.c
    }

    /// The images and heads in the order of the tasks.
    fn tasks(self) -> impl IndexedParallelIterator<Item = (usize, usize)> {
        (0..self.b * self.heads).into_par_iter().map(move |task| (task / self.heads, task % self.heads))
    }
}

impl Call {
    /// The temperature that is used.
    fn temperature(&self) -> f32 {
        let entry = self.dims.temperature.zip(self.temperature.as_ref());
        entry.map_or(1.0, |(entry, temperatures)| temperatures.as_slice()[entry])
    }

    fn head<'a, E>(&self, [qkv, extra]: [&'a [E]; 2], (image, head): (usize, usize)) -> Head<'a, E> {
        let (dims, part) = (self.dims, self.dims.n * self.dims.c);
        let extra = &extra[head * part..][..part];
        Head { dims, image, head, qkv, extra, factor: dims.scale() / self.temperature() }
    }
}

/// What was written in the place of the rows of a tile, and the elements between the beginnings of two rows.
fn in_place<E: Element>(tile: &[f32], keys: usize) -> (&[E], usize) {
    (bytemuck::cast_slice(tile), keys * size_of::<f32>() / size_of::<E>())
}

impl<'a, E: MatElement> Head<'a, E> {
    /// The rows of a third of qkv from `row` on.
    fn rows(&self, third: usize, row: usize) -> &'a [E] {
        &self.qkv[self.dims.at(third, self.image, self.head, row)..]
    }

    /// Writes `a [rows c]`, whose rows are `ld` apart, times the keys (K) or values (V) of the head transposed to
    /// `to [rows n+l]`.
    fn against(&self, third: usize, a: &[E], ld: usize, rows: usize, to: &mut [f32]) {
        let Dims { l, c, n, .. } = self.dims;
        let keys = self.dims.keys();
        let a = Mat::rows(a, ld);
        gemm_serial(rows, n, c, a, Mat::transposed(self.extra, c), to, keys, false);
        let own = Mat::transposed(self.rows(third, 0), self.dims.ld());
        gemm_serial(rows, l, c, a, own, &mut to[n..], keys, false);
    }

    /// Writes `weights [rows n+l]`, which lie in a tile, times the keys (K) or values (V) of the head to `to [rows c]`.
    fn weighted(&self, third: usize, weights: &[f32], rows: usize, to: &mut [f32]) {
        let Dims { l, c, n, .. } = self.dims;
        let (weights, ld) = in_place::<E>(weights, self.dims.keys());
        let own = Mat::rows(self.rows(third, 0), self.dims.ld());
        gemm_serial(rows, c, l, Mat::rows(&weights[n..], ld), own, to, c, false);
        if n > 0 {
            gemm_serial(rows, c, n, Mat::rows(weights, ld), Mat::rows(self.extra, c), to, c, true);
        }
    }
}

/// What a forward pass writes.
pub struct Outputs<'a, E> {
    /// `[b l d]`
    pub out: &'a mut [E],
    /// The logarithms of the sums of powers `[b heads l]`.
    pub sums: Option<&'a mut [f32]>,
    /// Those `[b heads n+l]` of the class row.
    pub probabilities: Option<&'a mut [f32]>,
}

/// Writes what is asked for, from qkv and the extra rows.
pub fn forward<E: MatElement>(call: &Call, inputs: [&[E]; 2], outputs: Outputs<E>) {
    let dims = call.dims;
    let Dims { l, heads, c, .. } = dims;
    let (d, keys, tile) = (dims.d(), dims.keys(), dims.tile());
    let out = Disjoint::new(outputs.out);
    let (sums, probabilities) = (outputs.sums.map(Disjoint::new), outputs.probabilities.map(Disjoint::new));
    let scratch = || (vec![0.0; tile * keys], vec![0.0; tile * c]);
    dims.tasks().for_each_init(scratch, |(scores, rows), (image, head)| {
        let of = call.head(inputs, (image, head));
        for first in (0..l).step_by(tile) {
            let count = tile.min(l - first);
            of.against(K, of.rows(Q, first), dims.ld(), count, scores);
            let mut inverses = vec![0.0; count];
            for (i, scores) in scores.chunks_exact_mut(keys).take(count).enumerate() {
                let classed = probabilities.as_ref().filter(|_| dims.class_row == Some(first + i));
                // SAFETY: this task alone has this head of this image.
                let mut classed = classed.map(|to| unsafe { to.slice((image * heads + head) * keys, keys) });
                let (largest, total) = powers::<E>(scores, of.factor, classed.as_deref_mut());
                inverses[i] = 1.0 / total;
                if let Some(sums) = &sums {
                    // SAFETY: this task alone has this row of this head.
                    let to = unsafe { sums.slice((image * heads + head) * l + first + i, 1) };
                    to[0] = largest + total.ln();
                }
                classed.into_iter().flatten().for_each(|power| *power *= inverses[i]);
            }
            of.weighted(V, scores, count, rows);
            for (i, row) in rows.chunks_exact(c).take(count).enumerate() {
                // SAFETY: this task alone has these channels of this row.
                let to = unsafe { out.slice((image * l + first + i) * d + head * c, c) };
                write_times(inverses[i], row, to);
            }
        }
    });
}

/// The largest element, by vectors.
#[inline(always)]
fn largest<S: Simd>(s: S, x: &[f32]) -> f32 {
    let whole = x.len() - x.len() % S::LANES;
    let mut most = s.splat(f32::NEG_INFINITY);
    for i in (0..whole).step_by(S::LANES) {
        most = s.max(s.read(x, i), most);
    }
    let mut lanes = [f32::NEG_INFINITY; LANES];
    s.write(&mut lanes[..S::LANES], 0, most);
    lanes.into_iter().chain(x[whole..].iter().copied()).fold(f32::NEG_INFINITY, f32::max)
}

/// Writes a vector of elements in the place of a row of f32 that are read no more up to the vector's own.
#[inline(always)]
fn write_in_place<S: Simd, E: Element>(s: S, row: &mut [f32], i: usize, v: S::V) {
    let keys = row.len();
    s.write(&mut bytemuck::cast_slice_mut::<f32, E>(row)[..keys], i, v);
}

simd_fn! {
    /// Replaces products of query and key by elements `e^(factor (product - largest))`, and returns the largest score `factor
    /// product` and the sum of the powers. These are also written as they are before they are rounded where that is asked for.
    fn powers<S, E>(s, products: &mut [f32], factor: f32, exact: Option<&mut [f32]>) -> (f32, f32) {
        let largest = largest(s, products);
        let (shift, by) = (s.splat(largest), s.splat(factor * std::f32::consts::LOG2_E));
        let (zero, mut total) = (s.splat(0.0), s.splat(0.0));
        let exact = exact.unwrap_or_default();
        let whole = products.len() - products.len() % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let product = s.read(products, i);
            let power = s.exp2_product(s.sub(product, shift), by);
            write_in_place::<S, E>(s, products, i, power);
            if !exact.is_empty() {
                s.write(exact, i, power);
            }
            // The exponential may hide a NaN, which must reach the sum.
            total = s.add(total, s.fma(product, zero, power));
        }
        let mut sum = s.sum(total);
        let rest = products.len() - whole;
        if rest > 0 {
            sum += 0.0 * products[whole..].iter().sum::<f32>();
            let power = s.exp2_product(s.sub(s.read(products, whole), shift), by);
            write_in_place::<S, E>(s, products, whole, power);
            let mut last = [0.0; LANES];
            s.write(&mut last, 0, power);
            sum += last[..rest].iter().sum::<f32>();
            exact.iter_mut().skip(whole).zip(last).for_each(|(to, power)| *to = power);
        }
        (factor * largest, sum)
    }
}

/// Where the gradients go.
pub struct Grads<'a, E> {
    /// `[b l 3d]`, which is added to where its flag is set.
    pub qkv: Option<(bool, &'a mut [E])>,
    /// `[heads n c]`, which is added to.
    pub extra: Option<&'a mut [f32]>,
    /// `[k]`, which is added to.
    pub temperature: Option<&'a mut [f32]>,
}

/// The memory of one task of a backward pass.
struct Scratch {
    /// The probabilities of a tile and the gradients of its scores, each `[tile n+l]`, in the end as elements.
    p: Vec<f32>,
    ds: Vec<f32>,
    /// `[tile c]`
    dq: Vec<f32>,
    /// `[n+l c]`
    dk: Vec<f32>,
    dv: Vec<f32>,
}

/// Computes the gradients that are asked for, from qkv and the extra rows. `sums` are the logarithms of the sums of powers.
pub fn backward<E: MatElement>(call: &Call, inputs: [&[E]; 2], sums: &[f32], dout: &[E], grads: Grads<E>) {
    let dims = call.dims;
    let Dims { b, l, heads, c, n, .. } = dims;
    let (d, keys, tile, temperature) = (dims.d(), dims.keys(), dims.tile(), call.temperature());
    let dqkv = grads.qkv.map(|(accumulate, to)| (accumulate, Disjoint::new(to)));
    let rows_wanted = dqkv.is_some() || grads.extra.is_some();
    // Of each task: what its extra rows get, and its part of the temperature's gradient.
    let mut parts = vec![0.0; b * heads * (n * c + 1)];
    let scratch = || Scratch {
        p: vec![0.0; tile * keys],
        ds: vec![0.0; tile * keys],
        dq: vec![0.0; tile * c],
        dk: vec![0.0; keys * c],
        dv: vec![0.0; keys * c],
    };
    let tasks = dims.tasks().zip(parts.par_chunks_exact_mut(n * c + 1));
    tasks.for_each_init(scratch, |scratch, ((image, head), part)| {
        let of = call.head(inputs, (image, head));
        let Scratch { p, ds, dq, dk, dv } = scratch;
        for first in (0..l).step_by(tile) {
            let count = tile.min(l - first);
            let (q, dout) = (of.rows(Q, first), &dout[(image * l + first) * d + head * c..]);
            of.against(K, q, dims.ld(), count, p);
            of.against(V, dout, d, count, ds);
            let rows = p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys)).take(count);
            for ((p, ds), sum) in rows.zip(&sums[(image * heads + head) * l + first..]) {
                part[n * c] -= grad_scores::<E>(p, ds, of.factor, *sum) / temperature;
            }
            if !rows_wanted {
                continue;
            }
            let [p, transposed] = [&*p, &*ds].map(|rows| {
                let (rows, ld) = in_place::<E>(rows, keys);
                Mat::transposed(rows, ld)
            });
            gemm_serial(keys, c, count, p, Mat::rows(dout, d), dv, c, first > 0);
            gemm_serial(keys, c, count, transposed, Mat::rows(q, dims.ld()), dk, c, first > 0);
            if let Some((accumulate, to)) = &dqkv {
                of.weighted(K, ds, count, dq);
                scatter(to, of, Q, first, *accumulate, &dq[..count * c]);
            }
        }
        if rows_wanted {
            part[..n * c].iter_mut().zip(dk.iter().zip(&*dv)).for_each(|(to, (dk, dv))| *to = dk + dv);
        }
        if let Some((accumulate, to)) = &dqkv {
            scatter(to, of, K, 0, *accumulate, &dk[n * c..]);
            scatter(to, of, V, 0, *accumulate, &dv[n * c..]);
        }
    });
    let parts = || parts.chunks_exact(n * c + 1).enumerate();
    if let Some(extra) = grads.extra {
        for (task, part) in parts() {
            let to = &mut extra[task % heads * n * c..][..n * c];
            to.iter_mut().zip(part).for_each(|(to, part)| *to += part);
        }
    }
    if let (Some(to), Some(entry)) = (grads.temperature, dims.temperature) {
        to[entry] += parts().map(|(_, part)| part[n * c]).sum::<f32>();
    }
}

/// Writes or adds `rows [.. c]` to the channels of a head in a third of the gradient of qkv, from row `first` on.
fn scatter<E: MatElement>(
    to: &Disjoint<E>,
    of: Head<E>,
    third: usize,
    first: usize,
    accumulate: bool,
    rows: &[f32],
) {
    for (i, row) in rows.chunks_exact(of.dims.c).enumerate() {
        // SAFETY: one task alone has these channels, and one thread at a time a row of them.
        let to = unsafe { to.slice(of.dims.at(third, of.image, of.head, first + i), of.dims.c) };
        match accumulate {
            true => add_times(1.0, row, to),
            false => write_times(1.0, row, to),
        }
    }
}

simd_fn! {
    /// Makes probabilities of products of query and key in `p`, by the logarithm of the row's sum of powers, and of `dp` the
    /// gradients of the products, in the end both as elements. Returns `sum ds s` over the scores s.
    fn grad_scores<S, E>(s, p: &mut [f32], dp: &mut [f32], factor: f32, sum: f32) -> f32 {
        let keys = p.len();
        let dp = &mut dp[..keys];
        let (by, shift) = (s.splat(factor), s.splat(sum));
        let (zero, log2_e) = (s.splat(0.0), s.splat(std::f32::consts::LOG2_E));
        // Beyond the end of the row dp is zero. The sums are those of p dp, p dp s and p s.
        let (mut mean, mut along, mut plain) = (zero, zero, zero);
        for i in (0..keys).step_by(S::LANES) {
            let score = s.mul(s.read(p, i), by);
            // A probability is at most 1. Beyond the end of the row it might overflow.
            let power = s.exp2_product(s.min(zero, s.sub(score, shift)), log2_e);
            let weighed = s.mul(power, s.read(dp, i));
            mean = s.add(mean, weighed);
            along = s.fma(weighed, score, along);
            // A score is zero beyond the end.
            plain = s.fma(power, score, plain);
            s.write(p, i, power);
        }
        let (mean, along, plain) = (s.sum(mean), s.sum(along), s.sum(plain));
        let middle = s.splat(mean);
        for i in (0..keys).step_by(S::LANES) {
            let power = s.read(p, i);
            let ds = s.mul(power, s.sub(s.read(dp, i), middle));
            write_in_place::<S, E>(s, dp, i, s.mul(ds, by));
            if E::DTYPE != DType::F32 {
                write_in_place::<S, E>(s, p, i, power);
            }
        }
        along - mean * plain
    }
}
