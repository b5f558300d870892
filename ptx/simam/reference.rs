//! SimAM in plain loops, over channels of `pixels` values.

use num_traits::Float;

use crate::scalar::sigmoid;

fn number<T: Float>(x: f64) -> T {
    T::from(x).expect("a float")
}

fn sum<T: Float>(x: impl Iterator<Item = T>) -> T {
    x.fold(T::zero(), |sum, x| sum + x)
}

/// `mean x` and w of a channel.
fn statistics<T: Float>(x: &[T]) -> (T, T) {
    let mean = sum(x.iter().copied()) / number(x.len() as f64);
    let squares = sum(x.iter().map(|&x| (x - mean).powi(2)));
    (mean, squares / number(x.len() as f64 - 1.0) + number(1e-3))
}

/// y, of the shape of x.
pub fn forward<T: Float>(pixels: usize, x: &[T]) -> Vec<T> {
    let mut y = vec![];
    for x in x.chunks(pixels) {
        let (mean, w) = statistics(x);
        for &x in x {
            let e = (x - mean).powi(2) / (number::<T>(4.0) * w) + number(0.5);
            y.push(x * sigmoid(e));
        }
    }
    y
}

/// dx: back through `y = x sigmoid(e)`, `e(q, w)`, `w(q)`, `q(x, mean)` and `mean(x)` in turn.
pub fn backward<T: Float>(pixels: usize, x: &[T], dy: &[T]) -> Vec<T> {
    let mut dx = vec![];
    let (n, two, four) = (number::<T>(pixels as f64), number::<T>(2.0), number::<T>(4.0));
    for (x, dy) in x.chunks(pixels).zip(dy.chunks(pixels)) {
        let (mean, w) = statistics(x);
        let q: Vec<T> = x.iter().map(|&x| (x - mean).powi(2)).collect();
        let s: Vec<T> = q.iter().map(|&q| sigmoid(q / (four * w) + number(0.5))).collect();
        let de: Vec<T> = (0..pixels).map(|i| dy[i] * x[i] * s[i] * (T::one() - s[i])).collect();
        let dw = -sum((0..pixels).map(|i| de[i] * q[i] / (four * w * w)));
        let dq: Vec<T> = de.iter().map(|&de| de / (four * w) + dw / (n - T::one())).collect();
        let dmean = -sum((0..pixels).map(|i| two * (x[i] - mean) * dq[i]));
        dx.extend((0..pixels).map(|i| dy[i] * s[i] + two * (x[i] - mean) * dq[i] + dmean / n));
    }
    dx
}
