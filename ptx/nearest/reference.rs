//! The nearest prototype in plain loops.

use num_traits::Float;

/// The number of the row of `prototypes [m d]` that is nearest to each row of `x [b d]`, the smallest of equals.
pub fn nearest<T: Float>(x: &[T], prototypes: &[T], d: usize) -> Vec<usize> {
    let distance = |x: &[T], p: &[T]| {
        let mut sum = T::zero();
        for i in 0..d {
            sum = sum + (x[i] - p[i]) * (x[i] - p[i]);
        }
        sum.sqrt()
    };
    let mut numbers = vec![];
    for x in x.chunks_exact(d) {
        let distances: Vec<T> = prototypes.chunks_exact(d).map(|p| distance(x, p)).collect();
        let smallest = distances.iter().fold(T::infinity(), |least, &distance| least.min(distance));
        numbers.push(distances.iter().position(|&distance| distance == smallest).expect("a prototype"));
    }
    numbers
}
