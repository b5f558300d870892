//! The frame in plain loops, pixel by pixel. A frame is its sides up, down, left and right.

use num_traits::Float;

/// The side that covers a pixel of an image of `s` pixels, and the pixel's place in it for channel `c`.
fn covering(s: usize, w: usize, c: usize, row: usize, column: usize) -> Option<(usize, usize)> {
    let inner = s - 2 * w;
    if row < w {
        Some((0, (c * w + row) * s + column))
    } else if row >= s - w {
        Some((1, (c * w + row - (s - w)) * s + column))
    } else if column < w {
        Some((2, (c * inner + row - w) * w + column))
    } else if column >= s - w {
        Some((3, (c * inner + row - w) * w + column - (s - w)))
    } else {
        None
    }
}

/// Calls `visit(image, place in x, side, place in the side)` for every framed pixel.
fn each(b: usize, c: usize, s: usize, w: usize, mut visit: impl FnMut(usize, usize, usize, usize)) {
    for image in 0..b {
        for channel in 0..c {
            for row in 0..s {
                for column in 0..s {
                    if let Some((side, at)) = covering(s, w, channel, row, column) {
                        visit(image, ((image * c + channel) * s + row) * s + column, side, at);
                    }
                }
            }
        }
    }
}

/// `y [b c s s]`. `sides` has four for every frame, and `frame_of` the number of each image's frame.
pub fn forward<T: Float>(x: &[T], [c, s, w]: [usize; 3], sides: &[Vec<T>], frame_of: &[usize]) -> Vec<T> {
    let mut y = x.to_vec();
    each(frame_of.len(), c, s, w, |image, pixel, side, at| {
        y[pixel] = y[pixel] + sides[4 * frame_of[image] + side][at];
    });
    y
}

/// The gradient of every side.
pub fn backward<T: Float>(
    dy: &[T],
    [c, s, w]: [usize; 3],
    sides: &[Vec<T>],
    frame_of: &[usize],
) -> Vec<Vec<T>> {
    let mut grads: Vec<Vec<T>> = sides.iter().map(|side| vec![T::zero(); side.len()]).collect();
    each(frame_of.len(), c, s, w, |image, pixel, side, at| {
        let grad = &mut grads[4 * frame_of[image] + side][at];
        *grad = *grad + dy[pixel];
    });
    grads
}
