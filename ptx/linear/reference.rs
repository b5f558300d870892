//! Linear in plain loops. `x` is `[rows width]`, read in columns `first..first + k`; `w` is `[n k]`.

use num_traits::Float;

/// `y [rows n]`. An empty `bias` stands for none.
pub fn forward<T: Float>(x: &[T], width: usize, first: usize, w: &[T], k: usize, bias: &[T]) -> Vec<T> {
    let (rows, n) = (x.len() / width, w.len() / k);
    let mut y = vec![T::zero(); rows * n];
    for r in 0..rows {
        for j in 0..n {
            let mut sum = if bias.is_empty() { T::zero() } else { bias[j] };
            for i in 0..k {
                sum = sum + x[r * width + first + i] * w[j * k + i];
            }
            y[r * n + j] = sum;
        }
    }
    y
}

/// `(dx, dw, dbias)`, shaped as the inputs; dx is zero outside the window.
pub fn backward<T: Float>(
    x: &[T],
    width: usize,
    first: usize,
    w: &[T],
    k: usize,
    dy: &[T],
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let (rows, n) = (x.len() / width, w.len() / k);
    let (mut dx, mut dw, mut dbias) =
        (vec![T::zero(); x.len()], vec![T::zero(); w.len()], vec![T::zero(); n]);
    for r in 0..rows {
        for j in 0..n {
            let g = dy[r * n + j];
            dbias[j] = dbias[j] + g;
            for i in 0..k {
                let at = r * width + first + i;
                dx[at] = dx[at] + g * w[j * k + i];
                dw[j * k + i] = dw[j * k + i] + g * x[at];
            }
        }
    }
    (dx, dw, dbias)
}
