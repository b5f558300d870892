//! The op in plain loops.

use num_traits::Float;

use super::call::{Activation, QUICK};

/// The value and the slope at x.
fn at<T: Float>(f: Activation, x: T) -> (T, T) {
    let (zero, one) = (T::zero(), T::one());
    match f {
        Activation::Relu if x > zero => (x, one),
        Activation::Relu => (zero, zero),
        Activation::QuickGelu => {
            let by = T::from(QUICK).expect("a small number");
            let share = one / (one + (-by * x).exp());
            (x * share, share + by * x * share * (one - share))
        }
        Activation::Tanh => (x.tanh(), one - x.tanh() * x.tanh()),
        Activation::Exp => (x.exp(), x.exp()),
    }
}

/// `y`, shaped as x.
pub fn forward<T: Float>(f: Activation, x: &[T]) -> Vec<T> {
    x.iter().map(|&x| at(f, x).0).collect()
}

/// `dx`, shaped as x.
pub fn backward<T: Float>(f: Activation, x: &[T], dy: &[T]) -> Vec<T> {
    x.iter().zip(dy).map(|(&x, &dy)| dy * at(f, x).1).collect()
}
