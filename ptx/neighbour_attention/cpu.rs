//! Attention to neighbours on the CPU: a task for each head of each image, queries in order.

use engine::simd::Simd;
use engine::{Element, simd_fn};
use rayon::prelude::*;

use super::call::Dims;
use crate::disjoint::Disjoint;

/// One head of one image, over the values of a call.
#[derive(Clone, Copy)]
struct Head<'a, E> {
    dims: Dims,
    image: usize,
    head: usize,
    queries: &'a [E],
    keys: &'a [E],
}

/// The thirds of the inputs.
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;

impl<'a, E> Head<'a, E> {
    /// Where a row of a third begins.
    #[inline(always)]
    fn at(&self, third: usize, row: usize) -> usize {
        let Dims { l, heads, c, .. } = self.dims;
        (((self.image * l + row) * 3 + third) * heads + self.head) * c
    }

    #[inline(always)]
    fn q(&self, row: usize) -> &'a [E] {
        &self.queries[self.at(Q, row)..][..self.dims.c]
    }

    /// A row of the keys (K) or values (V).
    #[inline(always)]
    fn key(&self, third: usize, row: usize) -> &'a [E] {
        &self.keys[self.at(third, row)..][..self.dims.c]
    }

    /// Where this head's part of a row of out begins.
    fn out_at(&self, row: usize) -> usize {
        let Dims { l, heads, c, .. } = self.dims;
        ((self.image * l + row) * heads + self.head) * c
    }
}

/// Calls `each` for every head of every image, with memory for the probabilities of a query.
fn each_head<E: Element>(
    dims: Dims,
    [queries, keys]: [&[E]; 2],
    each: impl Fn(Head<E>, &mut Vec<f32>) + Sync,
) {
    (0..dims.b * dims.heads).into_par_iter().for_each_init(Vec::new, |p, task| {
        each(Head { dims, image: task / dims.heads, head: task % dims.heads, queries, keys }, p);
    });
}

#[inline(always)]
fn dot<S: Simd>(s: S, a: &[impl Element], b: &[impl Element]) -> f32 {
    let mut sum = s.splat(0.0);
    for i in (0..a.len()).step_by(S::LANES) {
        sum = s.fma(s.read(a, i), s.read(b, i), sum);
    }
    s.sum(sum)
}

/// Adds `by x` to y.
#[inline(always)]
fn add<S: Simd>(s: S, by: f32, x: &[impl Element], y: &mut [f32]) {
    let by = s.splat(by);
    for i in (0..y.len()).step_by(S::LANES) {
        s.write(y, i, s.fma(by, s.read(x, i), s.read(y, i)));
    }
}

/// Writes sums as elements.
#[inline(always)]
fn put<S: Simd>(s: S, sums: &[f32], to: &mut [impl Element]) {
    for i in (0..sums.len()).step_by(S::LANES) {
        s.write(to, i, s.read(sums, i));
    }
}

/// Makes f32 of elements, or zeros.
#[inline(always)]
fn begin<S: Simd>(s: S, from: &[impl Element], accumulate: bool, sums: &mut [f32]) {
    for i in (0..sums.len()).step_by(S::LANES) {
        s.write(sums, i, if accumulate { s.read(from, i) } else { s.splat(0.0) });
    }
}

/// Makes p the probabilities of a query, in the order of its neighbours.
#[inline(always)]
fn probabilities<S: Simd, E: Element>(s: S, of: Head<E>, row: usize, p: &mut Vec<f32>) {
    p.clear();
    p.extend(of.dims.neighbours(row).map(|j| dot(s, of.q(row), of.key(K, j))));
    let largest = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // The exponential may hide a NaN, which must reach the sum.
    let hidden = 0.0 * p.iter().sum::<f32>();
    let (shift, by) = (s.splat(largest), s.splat(of.dims.scale() * std::f32::consts::LOG2_E));
    for i in (0..p.len()).step_by(S::LANES) {
        let power = s.exp2_product(s.sub(s.read(p, i), shift), by);
        s.write(p, i, power);
    }
    let inverse = 1.0 / (p.iter().sum::<f32>() + hidden);
    p.iter_mut().for_each(|p| *p *= inverse);
}

/// Writes `out [b l d]`.
pub fn forward<E: Element>(dims: Dims, inputs: [&[E]; 2], out: &mut [E]) {
    let out = Disjoint::new(out);
    each_head(dims, inputs, |of, p| forward_head(of, &out, p));
}

simd_fn! {
    fn forward_head<S, E>(s, of: Head<'_, E>, out: &Disjoint<'_, E>, p: &mut Vec<f32>) {
        let mut sum = vec![0.0; of.dims.c];
        for row in 0..of.dims.l {
            probabilities(s, of, row, p);
            sum.fill(0.0);
            of.dims.neighbours(row).zip(&*p).for_each(|(j, &p)| add(s, p, of.key(V, j), &mut sum));
            // SAFETY: this task alone has these channels.
            put(s, &sum, unsafe { out.slice(of.out_at(row), of.dims.c) });
        }
    }
}

/// Replaces dp by the gradients of the products of query and key, times `1 / sqrt(c)`.
#[inline(always)]
fn grad_scores<S: Simd, E: Element>(s: S, of: Head<E>, row: usize, dout: &[E], p: &[f32], ds: &mut Vec<f32>) {
    ds.clear();
    ds.extend(of.dims.neighbours(row).map(|j| dot(s, dout, of.key(V, j))));
    let (mean, scale) = (dot(s, p, ds), of.dims.scale());
    ds.iter_mut().zip(p).for_each(|(ds, p)| *ds = p * (*ds - mean) * scale);
}

/// Writes or adds the gradient of the first third of the queries.
pub fn grad_queries<E: Element>(
    dims: Dims,
    [queries, keys, dout]: [&[E]; 3],
    to: &mut [E],
    accumulate: bool,
) {
    let to = Disjoint::new(to);
    each_head(dims, [queries, keys], |of, p| grad_queries_head(of, dout, &to, accumulate, p));
}

simd_fn! {
    fn grad_queries_head<S, E>(
        s, of: Head<'_, E>, dout: &[E], to: &Disjoint<'_, E>, accumulate: bool, p: &mut Vec<f32>,
    ) {
        let (mut ds, mut sum) = (vec![], vec![0.0; of.dims.c]);
        for row in 0..of.dims.l {
            probabilities(s, of, row, p);
            grad_scores(s, of, row, &dout[of.out_at(row)..][..of.dims.c], p, &mut ds);
            // SAFETY: this task alone has these channels.
            let to = unsafe { to.slice(of.at(Q, row), of.dims.c) };
            begin(s, to, accumulate, &mut sum);
            of.dims.neighbours(row).zip(&ds).for_each(|(j, &ds)| add(s, ds, of.key(K, j), &mut sum));
            put(s, &sum, to);
        }
    }
}

/// Writes or adds the gradients of the second and third third of the keys.
pub fn grad_keys<E: Element>(dims: Dims, [queries, keys, dout]: [&[E]; 3], to: &mut [E], accumulate: bool) {
    let to = Disjoint::new(to);
    each_head(dims, [queries, keys], |of, p| grad_keys_head(of, dout, &to, accumulate, p));
}

simd_fn! {
    fn grad_keys_head<S, E>(
        s, of: Head<'_, E>, dout: &[E], to: &Disjoint<'_, E>, accumulate: bool, p: &mut Vec<f32>,
    ) {
        let (Dims { l, c, .. }, mut ds) = (of.dims, vec![]);
        // Rows of the sums of keys (K) and values (V), which every query adds to.
        let mut sums = vec![0.0; 2 * l * c];
        let place = |third: usize, row: usize| ((third - K) * l + row) * c;
        for (row, third) in (0..l).flat_map(|row| [(row, K), (row, V)]) {
            // SAFETY: this task alone has these channels, and no other slice of them lives.
            let to = unsafe { to.slice(of.at(third, row), c) };
            begin(s, to, accumulate, &mut sums[place(third, row)..][..c]);
        }
        for row in 0..l {
            let dout = &dout[of.out_at(row)..][..c];
            probabilities(s, of, row, p);
            grad_scores(s, of, row, dout, p, &mut ds);
            for (j, (&p, &ds)) in of.dims.neighbours(row).zip(p.iter().zip(&ds)) {
                add(s, ds, of.q(row), &mut sums[place(K, j)..][..c]);
                add(s, p, dout, &mut sums[place(V, j)..][..c]);
            }
        }
        for (row, third) in (0..l).flat_map(|row| [(row, K), (row, V)]) {
            // SAFETY: as above.
            put(s, &sums[place(third, row)..][..c], unsafe { to.slice(of.at(third, row), c) });
        }
    }
}
