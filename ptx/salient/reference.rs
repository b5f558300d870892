//! The most salient rows in plain loops.

use num_traits::Float;

/// The `k` of `rows` whose probabilities `p [b heads keys]` have the largest mean, for each image.
pub fn salient<T: Float>(
    p: &[T],
    [heads, keys]: [usize; 2],
    extra: usize,
    rows: &[usize],
    k: usize,
) -> Vec<usize> {
    let mut chosen = vec![];
    for image in p.chunks_exact(heads * keys) {
        let mut left = rows.to_vec();
        for _ in 0..k {
            let mean = |row: usize| {
                let sum = image.chunks_exact(keys).fold(T::zero(), |sum, head| sum + head[extra + row]);
                sum / T::from(heads).expect("a small number")
            };
            let largest = left.iter().fold(T::neg_infinity(), |most, &row| most.max(mean(row)));
            let at =
                left.iter().position(|&row| mean(row) == largest).expect("fewer are chosen than there are");
            chosen.push(left.remove(at));
        }
    }
    chosen
}
