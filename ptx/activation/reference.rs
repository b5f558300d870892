//! The op in plain loops.

use num_traits::Float;

use super::call::{Activation, QUICK};

/// The standard normal distribution function, by the series `1/2 + f(x) (x + x^3/3 + x^5/15 + ...)` with the density f,
/// whose terms have one sign (Marsaglia, Evaluating the Normal Distribution, 2004). Beyond 9 it is 0 or 1 in f64.
fn distribution<T: Float>(x: T) -> T {
    if x.abs() > T::from(9.0).unwrap() {
        return if x > T::zero() { T::one() } else { T::zero() };
    }
    let (mut term, mut sum, mut odd) = (x, T::zero(), T::one());
    // Also ends where x is NaN.
    while (sum + term - sum).abs() > T::zero() {
        sum = sum + term;
        odd = odd + T::from(2.0).unwrap();
        term = term * x * x / odd;
    }
    T::from(0.5).unwrap() + sum * density(x)
}

fn density<T: Float>(x: T) -> T {
    let two = T::from(2.0).unwrap();
    (-x * x / two).exp() / (two * T::from(std::f64::consts::PI).unwrap()).sqrt()
}

/// The value and the slope at x.
fn at<T: Float>(f: Activation, x: T) -> (T, T) {
    let (zero, one) = (T::zero(), T::one());
    match f {
        Activation::Relu if x > zero => (x, one),
        Activation::Relu => (zero, zero),
        Activation::Gelu => (x * distribution(x), distribution(x) + x * density(x)),
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
