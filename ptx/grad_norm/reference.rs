//! The gradient norm in plain loops.

use num_traits::Float;

/// The norm of all elements of all tensors together.
pub fn grad_norm<T: Float>(grads: &[Vec<T>]) -> T {
    grads.iter().flatten().fold(T::zero(), |sum, &g| sum + g * g).sqrt()
}
