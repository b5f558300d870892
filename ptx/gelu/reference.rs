//! The op in plain loops.

use num_traits::Float;

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

/// `y`, shaped as x.
pub fn forward<T: Float>(x: &[T]) -> Vec<T> {
    x.iter().map(|&x| x * distribution(x)).collect()
}

/// `dx`, shaped as x.
pub fn backward<T: Float>(x: &[T], dy: &[T]) -> Vec<T> {
    x.iter().zip(dy).map(|(&x, &dy)| dy * (distribution(x) + x * density(x))).collect()
}
