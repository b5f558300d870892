//! The mean of rows on the CPU: a sample a task, rows in order.

use engine::Element;
use rayon::prelude::*;

use super::call::Dims;
use crate::rows::{add_times, write_times};

/// Writes the means to `y [b d]`.
pub fn forward<E: Element>(dims: Dims, x: &[E], y: &mut [E]) {
    let Dims { l, d, skip, .. } = dims;
    if d == 0 {
        return;
    }
    y.par_chunks_mut(d).zip(x.par_chunks(l * d)).for_each(|(y, x)| {
        let mut sum = vec![0.0; d];
        for (_, row) in x.chunks_exact(d).enumerate().filter(|(row, _)| *row != skip) {
            add_times(1.0, row, &mut sum);
        }
        write_times(dims.share(), &sum, y);
    });
}

/// Writes the gradient of x to `dx [b l d]`, or adds it.
pub fn backward<E: Element>(dims: Dims, dy: &[E], dx: &mut [E], add: bool) {
    let Dims { l, d, skip, .. } = dims;
    if d == 0 {
        return;
    }
    dx.par_chunks_mut(l * d).zip(dy.par_chunks(d)).for_each(|(dx, dy)| {
        for (row, dx) in dx.chunks_exact_mut(d).enumerate() {
            let share = if row == skip { 0.0 } else { dims.share() };
            match add {
                true => add_times(share, dy, dx),
                false => write_times(share, dy, dx),
            }
        }
    });
}
