//! The op in plain loops. `x` is `[rows d]`, and `channels` has numbers as floats.

use num_traits::Float;

fn number<T: Float>(channel: T) -> usize {
    channel.to_usize().expect("a whole number")
}

/// The chosen channels, `[rows n]`.
pub fn gather<T: Float>(x: &[T], d: usize, channels: &[T]) -> Vec<T> {
    x.chunks(d).flat_map(|row| channels.iter().map(|&c| row[number(c)])).collect()
}

/// The gradient of x `[rows d]` for `dy [rows n]`.
pub fn gather_grad<T: Float>(dy: &[T], d: usize, channels: &[T]) -> Vec<T> {
    let rows = dy.len() / channels.len();
    let mut dx = vec![T::zero(); rows * d];
    for row in 0..rows {
        for (j, &c) in channels.iter().enumerate() {
            dx[row * d + number(c)] = dx[row * d + number(c)] + dy[row * channels.len() + j];
        }
    }
    dx
}

/// `x` with `s [rows n]` added at the chosen channels.
pub fn add<T: Float>(x: &[T], d: usize, channels: &[T], s: &[T]) -> Vec<T> {
    x.iter().zip(gather_grad(s, d, channels)).map(|(&x, s)| x + s).collect()
}
