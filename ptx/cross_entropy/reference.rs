//! Cross-entropy in plain loops.

use num_traits::Float;

fn softmax<T: Float>(x: &[T]) -> Vec<T> {
    let largest = x.iter().fold(T::neg_infinity(), |m, &x| m.max(x));
    let e: Vec<T> = x.iter().map(|&x| (x - largest).exp()).collect();
    let sum = e.iter().fold(T::zero(), |s, &e| s + e);
    e.iter().map(|&e| e / sum).collect()
}

/// The mean over rows of `-sum_k t log softmax(x)`, x and t `[b k]`.
pub fn forward<T: Float>(x: &[T], targets: &[T], k: usize) -> T {
    let mut loss = T::zero();
    for (x, t) in x.chunks(k).zip(targets.chunks(k)) {
        for (p, &t) in softmax(x).into_iter().zip(t) {
            loss = loss - t * p.ln();
        }
    }
    loss * T::from(k).unwrap() / T::from(x.len()).unwrap()
}

/// dx `[b k]`, given the gradient of the loss.
pub fn backward<T: Float>(x: &[T], targets: &[T], k: usize, dloss: T) -> Vec<T> {
    let mut dx = vec![];
    for (x, t) in x.chunks(k).zip(targets.chunks(k)) {
        let weight = t.iter().fold(T::zero(), |s, &t| s + t);
        for (p, &t) in softmax(x).into_iter().zip(t) {
            dx.push(dloss * (p * weight - t));
        }
    }
    let b = T::from(dx.len() / k).unwrap();
    dx.into_iter().map(|dx| dx / b).collect()
}
