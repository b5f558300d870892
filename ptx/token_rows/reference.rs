//! Token rows in plain loops.

use num_traits::Float;

/// Rows `first..first + count` of every sample of `x [b l d]`.
pub fn window<T: Float>(x: &[T], b: usize, d: usize, first: usize, count: usize) -> Vec<T> {
    let l = x.len() / (b * d);
    let mut y = vec![];
    for sample in 0..b {
        for row in first..first + count {
            y.extend_from_slice(&x[(sample * l + row) * d..][..d]);
        }
    }
    y
}

/// The gradient of x `[b l d]`: the rows of dy where they were taken from, zeros elsewhere.
pub fn window_grad<T: Float>(dy: &[T], b: usize, l: usize, d: usize, first: usize, count: usize) -> Vec<T> {
    let mut dx = vec![T::zero(); b * l * d];
    for (i, &dy) in dy.iter().enumerate() {
        let (sample, row) = (i / (count * d), i / d % count);
        dx[(sample * l + first + row) * d + i % d] = dy;
    }
    dx
}

/// The rows of x, `gap` rows of zeros, and the rows of y, in every sample.
pub fn join<T: Float>(x: &[T], y: &[T], b: usize, d: usize, gap: usize) -> Vec<T> {
    let (m, n) = (x.len() / b, y.len() / b);
    let mut joined = vec![];
    for sample in 0..b {
        joined.extend_from_slice(&x[sample * m..][..m]);
        joined.extend(vec![T::zero(); gap * d]);
        joined.extend_from_slice(&y[sample * n..][..n]);
    }
    joined
}
