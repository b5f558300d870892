//! Drop path on the CPU: one pass, one sample a task.

use rayon::prelude::*;

/// Each run of `width` values of x, scaled by its `keep`.
pub fn forward(width: usize, keep: &[f32], x: &[f32], y: &mut [f32]) {
    let samples = y.par_chunks_mut(width).zip(x.par_chunks(width)).zip(keep);
    samples.for_each(|((y, x), k)| y.iter_mut().zip(x).for_each(|(y, x)| *y = k * x));
}

/// Turns dy into dx in place.
pub fn backward(width: usize, keep: &[f32], dy: &mut [f32]) {
    dy.par_chunks_mut(width).zip(keep).for_each(|(dy, k)| dy.iter_mut().for_each(|dy| *dy *= k));
}
