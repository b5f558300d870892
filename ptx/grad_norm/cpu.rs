//! The gradient norm on the CPU: chunks are summed in f32, and their sums in f64, in order.

use engine::{Tensor, simd_fn};
use rayon::prelude::*;

/// Elements of a chunk.
const CHUNK: usize = 1 << 12;

/// The sum of the squares of all elements.
pub fn squares(grads: &[&Tensor]) -> f64 {
    let chunks: Vec<&[f32]> = grads.iter().flat_map(|grad| grad.as_slice().chunks(CHUNK)).collect();
    let sums: Vec<f32> = chunks.par_iter().map(|chunk| sum_squares(chunk)).collect();
    sums.into_iter().map(f64::from).sum()
}

simd_fn! {
    fn sum_squares<S>(s, x: &[f32]) -> f32 {
        let mut sum = s.splat(0.0);
        for i in (0..x.len()).step_by(S::LANES) {
            let x = s.read(x, i);
            sum = s.fma(x, x, sum);
        }
        s.sum(sum)
    }
}
