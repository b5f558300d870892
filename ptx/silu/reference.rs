//! SiLU in plain loops.

use num_traits::Float;

/// x / (1 + e^-x)
pub fn silu<T: Float>(x: T) -> T {
    x / (T::one() + (-x).exp())
}

/// The derivative of [`silu`].
pub fn silu_grad<T: Float>(x: T) -> T {
    let s = T::one() / (T::one() + (-x).exp());
    s * (T::one() + x * (T::one() - s))
}
