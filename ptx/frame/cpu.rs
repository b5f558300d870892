//! The frame on the CPU. Bound by memory.

use engine::Element;
use rayon::prelude::*;

use super::call::Dims;

/// The frame of an image.
fn frame_of(d: Dims, numbers: Option<&[f32]>, image: usize) -> usize {
    numbers.map_or(0, |numbers| (numbers[image] as usize).min(d.frames - 1))
}

/// Writes y. `sides` has four for every frame.
pub fn forward<E: Element>(d: Dims, x: &[E], sides: &[&[f32]], numbers: Option<&[f32]>, y: &mut [E]) {
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(d.s * d.s).zip(x.par_chunks(d.s * d.s)).enumerate().for_each(|(plane, (y, x))| {
        y.copy_from_slice(x);
        let first = 4 * frame_of(d, numbers, plane / d.c);
        for (side, values) in sides[first..first + 4].iter().enumerate() {
            let ([_, _, rows, columns], [top, left]) = (d.side(side), d.corner(side));
            let values = &values[plane % d.c * rows * columns..][..rows * columns];
            for (i, values) in values.chunks_exact(columns.max(1)).enumerate() {
                let y = &mut y[(top + i) * d.s + left..][..columns];
                y.iter_mut().zip(values).for_each(|(y, value)| *y = E::from_f32(y.to_f32() + value));
            }
        }
    });
}

/// Adds to `grad` the gradient of one side of one frame, images in order.
pub fn grad_side<E: Element>(
    d: Dims,
    dy: &[E],
    numbers: Option<&[f32]>,
    (frame, side): (usize, usize),
    grad: &mut [f32],
) {
    let ([_, _, rows, columns], [top, left]) = (d.side(side), d.corner(side));
    if grad.is_empty() {
        return;
    }
    let images: Vec<usize> = (0..d.b).filter(|&image| frame_of(d, numbers, image) == frame).collect();
    grad.par_chunks_mut(columns).enumerate().for_each(|(row, grad)| {
        let (channel, i) = (row / rows, row % rows);
        for image in &images {
            let dy = &dy[((image * d.c + channel) * d.s + top + i) * d.s + left..][..columns];
            grad.iter_mut().zip(dy).for_each(|(grad, dy)| *grad += dy.to_f32());
        }
    });
}
