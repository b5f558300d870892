//! Batch normalization on the CPU: walks over the rows, channels side by side. The batch of a head is small, so one
//! thread takes it.

use engine::Tensor;

use super::call::{Dims, EPS};

/// Writes y and `1 / sqrt(v + eps)`, and the batch's moments where they are its own.
pub fn forward(
    dims: Dims,
    x: &Tensor,
    given: Option<[&Tensor; 2]>,
    own: Option<&mut [Tensor; 2]>,
    y: &mut Tensor,
    inverse: &mut Tensor,
) {
    let (Dims { b, d }, x) = (dims, x.as_slice());
    let (mut mean, mut variance) = (vec![0.0f32; d], vec![0.0f32; d]);
    match given {
        Some(given) => {
            mean.copy_from_slice(given[0].as_slice());
            variance.copy_from_slice(given[1].as_slice());
        }
        None => {
            each(x, d, |c, x| mean[c] += x);
            mean.iter_mut().for_each(|mean| *mean /= b as f32);
            each(x, d, |c, x| variance[c] += (x - mean[c]).powi(2));
            variance.iter_mut().for_each(|variance| *variance /= b as f32);
        }
    }
    if let Some([to_mean, to_variance]) = own {
        let unbiased = b as f32 / (b - 1) as f32;
        to_mean.as_mut_slice().copy_from_slice(&mean);
        to_variance.as_mut_slice().iter_mut().zip(&variance).for_each(|(to, v)| *to = v * unbiased);
    }
    let inverse = inverse.as_mut_slice();
    inverse.iter_mut().zip(&variance).for_each(|(inverse, v)| *inverse = 1.0 / (v + EPS).sqrt());
    for (y, x) in y.as_mut_slice().chunks_exact_mut(d).zip(x.chunks_exact(d)) {
        (0..d).for_each(|c| y[c] = (x[c] - mean[c]) * inverse[c]);
    }
}

/// Writes dx, or adds to it.
pub fn backward(dims: Dims, dy: &Tensor, y: Option<&Tensor>, inverse: &Tensor, dx: &mut Tensor, add: bool) {
    let (Dims { b, d }, dy, inverse) = (dims, dy.as_slice(), inverse.as_slice());
    let (mut mean, mut along) = (vec![0.0f32; d], vec![0.0f32; d]);
    if let Some(y) = y {
        each(dy, d, |c, dy| mean[c] += dy / b as f32);
        for (dy, y) in dy.chunks_exact(d).zip(y.as_slice().chunks_exact(d)) {
            (0..d).for_each(|c| along[c] += dy[c] * y[c] / b as f32);
        }
    }
    for (i, dx) in dx.as_mut_slice().iter_mut().enumerate() {
        let c = i % d;
        let through = y.map_or(0.0, |y| y.as_slice()[i] * along[c]);
        let value = inverse[c] * (dy[i] - mean[c] - through);
        *dx = if add { *dx + value } else { value };
    }
}

/// Calls `body` with the channel and the value of each element, row by row.
fn each(x: &[f32], d: usize, mut body: impl FnMut(usize, f32)) {
    for row in x.chunks_exact(d.max(1)) {
        row.iter().enumerate().for_each(|(c, &x)| body(c, x));
    }
}
