//! The order of axes on the CPU: runs along the last axis of the result.

use engine::Element;
use rayon::prelude::*;

use super::call::Order;

/// Writes y, or adds to it.
pub fn place<E: Element>(order: &Order, x: &[E], y: &mut [E], accumulate: bool) {
    let ([_, rows, columns], [a, b, c]) = (order.shape, order.strides);
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(columns).enumerate().for_each(|(row, y)| {
        let from = &x[row / rows * a + row % rows * b..];
        let each = y.iter_mut().zip(from.iter().step_by(c));
        match accumulate {
            true => each.for_each(|(y, x)| *y = E::from_f32(y.to_f32() + x.to_f32())),
            false => each.for_each(|(y, x)| *y = *x),
        }
    });
}
