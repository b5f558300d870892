//! Added rows on the CPU: an image a task forward, a learned row a task backward. Bound by memory.

use engine::Element;
use rayon::prelude::*;

use super::call::Call;
use crate::rows::add_times;

impl Call {
    /// The row of an image that learned row `j` is added to; `None` beyond the last one.
    fn row(&self, image: usize, j: usize) -> Option<usize> {
        let row = self.at.as_slice()[image * self.stride + j] as usize;
        (row < self.l).then_some(row)
    }

    /// Elements of the entry of all learned rows.
    fn entry(&self) -> std::ops::Range<usize> {
        let size = self.n * self.d;
        self.entry * size..(self.entry + 1) * size
    }
}

/// Adds the learned rows of `values [k n d]` to `y [b l d]`.
pub fn add<E: Element>(call: &Call, values: &[f32], y: &mut [E]) {
    let (rows, d) = (&values[call.entry()], call.d);
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(call.l * d).enumerate().for_each(|(image, y)| {
        for (j, from) in rows.chunks_exact(d).enumerate() {
            if let Some(row) = call.row(image, j) {
                add_times(call.weight, from, &mut y[row * d..][..d]);
            }
        }
    });
}

/// Adds to the gradient of `values [k n d]`, images in order.
pub fn grad<E: Element>(call: &Call, dy: &[E], to: &mut [f32]) {
    let (to, d) = (&mut to[call.entry()], call.d);
    if to.is_empty() {
        return;
    }
    to.par_chunks_mut(d).enumerate().for_each(|(j, to)| {
        let mut sum = vec![0.0; d];
        for (image, dy) in dy.chunks_exact(call.l * d).enumerate() {
            if let Some(row) = call.row(image, j) {
                add_times(1.0, &dy[row * d..][..d], &mut sum);
            }
        }
        add_times(call.weight, &sum, to);
    });
}
