//! Functions of one number that several references share.

use num_traits::Float;

/// `1 / (1 + e^-x)`
pub(crate) fn sigmoid<T: Float>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

/// `x sigmoid(x)`, also called swish.
pub(crate) fn silu<T: Float>(x: T) -> T {
    x / (T::one() + (-x).exp())
}

/// The derivative of [`silu`]: `s (1 + x (1 - s))` with `s = sigmoid(x)`.
pub(crate) fn silu_grad<T: Float>(x: T) -> T {
    let s = sigmoid(x);
    s * (T::one() + x * (T::one() - s))
}
