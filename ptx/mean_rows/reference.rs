//! The mean of rows in plain loops.

use num_traits::Float;

/// The mean `[b d]` of all rows of `x [b l d]` but row `skip`; of all where that is `l`.
pub fn forward<T: Float>(x: &[T], b: usize, d: usize, skip: usize) -> Vec<T> {
    let l = x.len() / (b * d);
    let mut y = vec![T::zero(); b * d];
    for (i, &x) in x.iter().enumerate() {
        let (sample, row, channel) = (i / (l * d), i / d % l, i % d);
        if row != skip {
            y[sample * d + channel] = y[sample * d + channel] + x;
        }
    }
    let rows = T::from((0..l).filter(|&row| row != skip).count()).expect("a small number");
    y.into_iter().map(|sum| sum / rows).collect()
}

/// The gradient of x `[b l d]`.
pub fn backward<T: Float>(dy: &[T], b: usize, l: usize, d: usize, skip: usize) -> Vec<T> {
    let rows = T::from((0..l).filter(|&row| row != skip).count()).expect("a small number");
    let value = |i: usize| match i / d % l == skip {
        true => T::zero(),
        false => dy[i / (l * d) * d + i % d] / rows,
    };
    (0..b * l * d).map(value).collect()
}
