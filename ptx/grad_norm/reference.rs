//! The gradient norm in plain loops.

use num_traits::Float;

pub fn grad_norm<T: Float>(grads: &[Vec<T>]) -> T {
    grads.iter().flatten().fold(T::zero(), |sum, &g| sum + g * g).sqrt()
}
