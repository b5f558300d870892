//! The chain of prompts on the CPU: a prompt, or a row of a matrix, a task. The prompts are few and stay in the cache.

use engine::Tensor;
use rayon::prelude::*;

use super::call::Dims;

impl Dims {
    /// Prompt `j` of layer `l`, which is 0 for the first.
    fn prompt<'a>(&self, [first, later]: [&'a [f32]; 2], l: usize, j: usize) -> &'a [f32] {
        let of = |all: &'a [f32], at: usize| &all[at * self.d..][..self.d];
        l.checked_sub(1).map_or_else(|| of(first, j), |l| of(later, l * self.n + j))
    }
}

fn add(to: &mut [f32], by: f32, from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += by * from);
}

/// Writes y `[k n d]`.
pub fn forward(dims: Dims, prompts: [&[f32]; 2], matrices: Option<&Tensor>, y: &mut [f32]) {
    let Dims { n, d, all, .. } = dims;
    if y.is_empty() {
        return;
    }
    let matrices = matrices.map(Tensor::as_slice);
    y.par_chunks_mut(d).enumerate().for_each(|(at, y)| {
        let (l, i) = (at / n + 1, at % n);
        y.fill(0.0);
        match matrices {
            Some(matrices) => {
                let row = &matrices[at * n..][..n];
                row.iter().enumerate().for_each(|(j, &m)| add(y, m, dims.prompt(prompts, l - 1, j)));
            }
            None => {
                (if all { 0 } else { l - 1 }..l).for_each(|from| add(y, 1.0, dims.prompt(prompts, from, i)))
            }
        }
        add(y, 1.0, dims.prompt(prompts, l, i));
    });
}

/// Writes the gradients of the prompts of the layers from `first` on to `to [layers n d]`, or adds them.
pub fn grad_prompts(
    dims: Dims,
    first: usize,
    matrices: Option<&Tensor>,
    dy: &[f32],
    to: &mut [f32],
    accumulate: bool,
) {
    let Dims { k, n, d, all } = dims;
    if to.is_empty() {
        return;
    }
    let matrices = matrices.map(Tensor::as_slice);
    // That of prompt i of layer l, counted from 1.
    let of = |l: usize, i: usize| &dy[((l - 1) * n + i) * d..][..d];
    to.par_chunks_mut(d).enumerate().for_each(|(at, to)| {
        let (l, j) = (first + at / n, at % n);
        if !accumulate {
            to.fill(0.0);
        }
        if l > 0 {
            add(to, 1.0, of(l, j));
        }
        match matrices {
            Some(matrices) if l < k => {
                (0..n).for_each(|i| add(to, matrices[(l * n + i) * n + j], of(l + 1, i)));
            }
            Some(_) => {}
            None => (l + 1..=if all { k } else { k.min(l + 1) }).for_each(|later| add(to, 1.0, of(later, j))),
        }
    });
}

/// Writes the gradient of the matrices to `to [k n n]`, or adds it.
pub fn grad_matrices(dims: Dims, prompts: [&[f32]; 2], dy: &[f32], to: &mut [f32], accumulate: bool) {
    let Dims { n, d, .. } = dims;
    if to.is_empty() {
        return;
    }
    to.par_chunks_mut(n).enumerate().for_each(|(at, to)| {
        let dy = &dy[at * d..][..d];
        for (j, to) in to.iter_mut().enumerate() {
            let products = dy.iter().zip(dims.prompt(prompts, at / n, j));
            let sum = products.map(|(dy, p)| f64::from(*dy) * f64::from(*p)).sum::<f64>() as f32;
            *to = if accumulate { *to + sum } else { sum };
        }
    });
}
