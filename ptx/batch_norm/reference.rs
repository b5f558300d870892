//! The op in plain loops. `x` is `[b d]`.

use num_traits::Float;

use super::call::EPS;

/// Mean and variance by b of each channel.
pub fn moments<T: Float>(x: &[T], d: usize) -> (Vec<T>, Vec<T>) {
    let b = T::from(x.len() / d).expect("a number of rows");
    let mean = |c: usize| x.iter().skip(c).step_by(d).fold(T::zero(), |sum, &x| sum + x) / b;
    let means: Vec<T> = (0..d).map(mean).collect();
    let variance =
        |c: usize| x.iter().skip(c).step_by(d).fold(T::zero(), |sum, &x| sum + (x - means[c]).powi(2)) / b;
    let variances = (0..d).map(variance).collect();
    (means, variances)
}

/// `y [b d]` for a mean and a variance `[d]`.
pub fn forward<T: Float>(x: &[T], mean: &[T], variance: &[T]) -> Vec<T> {
    let d = mean.len();
    let eps = T::from(EPS).expect("a small number");
    x.iter().enumerate().map(|(i, &x)| (x - mean[i % d]) / (variance[i % d] + eps).sqrt()).collect()
}

/// `dx [b d]` where mean and variance are those of x.
pub fn backward<T: Float>(x: &[T], d: usize, dy: &[T]) -> Vec<T> {
    let b = T::from(x.len() / d).expect("a number of rows");
    let eps = T::from(EPS).expect("a small number");
    let (mean, variance) = moments(x, d);
    let mut dx = vec![T::zero(); x.len()];
    for c in 0..d {
        let root = (variance[c] + eps).sqrt();
        let rows = || (c..x.len()).step_by(d);
        let ddeviation = rows().fold(T::zero(), |sum, i| sum + dy[i] * (x[i] - mean[c]));
        let all = rows().fold(T::zero(), |sum, i| sum + dy[i]);
        for i in rows() {
            dx[i] = (dy[i] - all / b) / root - (x[i] - mean[c]) * ddeviation / (b * root.powi(3));
        }
    }
    dx
}
