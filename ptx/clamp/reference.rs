//! The bounds in plain loops.

use num_traits::Float;

/// The values within the bounds.
pub fn clamp<T: Float>(x: &[T], low: T, high: T) -> Vec<T> {
    x.iter().map(|&x| x.max(low).min(high)).collect()
}
