//! The moving average in plain loops.

use num_traits::Float;

/// The new average of one tensor.
pub fn step<T: Float>(rate: T, average: &[T], value: &[T]) -> Vec<T> {
    average.iter().zip(value).map(|(&a, &x)| (T::one() - rate) * a + rate * x).collect()
}
