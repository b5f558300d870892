//! The mean of rows on the CPU: a sample a task, rows in order.

use rayon::prelude::*;

use super::call::Dims;

/// Writes the means to `y [b d]`.
pub fn forward(dims: Dims, x: &[f32], y: &mut [f32]) {
    let Dims { l, d, skip, .. } = dims;
    if d == 0 {
        return;
    }
    y.par_chunks_mut(d).zip(x.par_chunks(l * d)).for_each(|(y, x)| {
        y.fill(0.0);
        for (_, row) in x.chunks_exact(d).enumerate().filter(|(row, _)| *row != skip) {
            y.iter_mut().zip(row).for_each(|(y, x)| *y += x);
        }
        y.iter_mut().for_each(|y| *y *= dims.share());
    });
}

/// Writes the gradient of x to `dx [b l d]`, or adds it.
pub fn backward(dims: Dims, dy: &[f32], dx: &mut [f32], add: bool) {
    let Dims { l, d, skip, .. } = dims;
    if d == 0 {
        return;
    }
    dx.par_chunks_mut(l * d).zip(dy.par_chunks(d)).for_each(|(dx, dy)| {
        for (row, dx) in dx.chunks_exact_mut(d).enumerate() {
            let share = if row == skip { 0.0 } else { dims.share() };
            let each = dx.iter_mut().zip(dy);
            match add {
                true => each.for_each(|(dx, dy)| *dx += share * dy),
                false => each.for_each(|(dx, dy)| *dx = share * dy),
            }
        }
    });
}
