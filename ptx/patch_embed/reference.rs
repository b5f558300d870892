//! Patch embedding in plain loops.

use num_traits::Float;

/// The sizes of a call.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Images.
    pub b: usize,
    /// Colours of a pixel.
    pub c: usize,
    /// Pixels of an image's side.
    pub size: usize,
    /// Pixels of a patch's side.
    pub patch: usize,
    /// Pixels from one patch to the next.
    pub stride: usize,
    /// Channels of a token.
    pub d: usize,
    /// Row of the class token.
    pub class_row: usize,
}

impl Sizes {
    fn grid(&self) -> usize {
        (self.size - self.patch) / self.stride + 1
    }

    /// Tokens of an image, with the class token.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid() + 1
    }

    /// Values of a patch.
    pub fn k(&self) -> usize {
        self.c * self.patch * self.patch
    }

    /// Calls `visit(row, j, i)` for every value `j` of every patch. `row` is its token's row over all images, and `i`
    /// the place of its pixel in the images.
    fn for_each_pixel(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for n in 0..self.b {
            for gy in 0..self.grid() {
                for gx in 0..self.grid() {
                    let patch = gy * self.grid() + gx;
                    let token = if patch < self.class_row { patch } else { patch + 1 };
                    for j in 0..self.k() {
                        let (c, y, x) = (
                            j / (self.patch * self.patch),
                            gy * self.stride + j / self.patch % self.patch,
                            gx * self.stride + j % self.patch,
                        );
                        let i = ((n * self.c + c) * self.size + y) * self.size + x;
                        visit(n * self.tokens() + token, j, i);
                    }
                }
            }
        }
    }
}

/// `y [b p+1 d]`
pub fn forward<T: Float>(s: Sizes, images: &[T], w: &[T], bias: &[T], cls: &[T], pos: &[T]) -> Vec<T> {
    let mut y = vec![T::zero(); s.b * s.tokens() * s.d];
    for (i, y) in y.iter_mut().enumerate() {
        let (token, d) = (i / s.d % s.tokens(), i % s.d);
        let offset = if token == s.class_row { cls[d] } else { bias[d] };
        *y = offset + pos[token * s.d + d];
    }
    s.for_each_pixel(|row, j, i| {
        for d in 0..s.d {
            y[row * s.d + d] = y[row * s.d + d] + w[d * s.k() + j] * images[i];
        }
    });
    y
}

/// `[dimages, dw, dbias, dcls, dpos]`, shaped as the inputs.
pub fn backward<T: Float>(s: Sizes, images: &[T], w: &[T], dy: &[T]) -> [Vec<T>; 5] {
    let zeros = |n| vec![T::zero(); n];
    let (mut dimages, mut dw) = (zeros(images.len()), zeros(w.len()));
    let (mut dbias, mut dcls, mut dpos) = (zeros(s.d), zeros(s.d), zeros(s.tokens() * s.d));
    for (i, &dy) in dy.iter().enumerate() {
        let (token, d) = (i / s.d % s.tokens(), i % s.d);
        let offset = if token == s.class_row { &mut dcls } else { &mut dbias };
        offset[d] = offset[d] + dy;
        dpos[token * s.d + d] = dpos[token * s.d + d] + dy;
    }
    s.for_each_pixel(|row, j, i| {
        for d in 0..s.d {
            dimages[i] = dimages[i] + dy[row * s.d + d] * w[d * s.k() + j];
            dw[d * s.k() + j] = dw[d * s.k() + j] + dy[row * s.d + d] * images[i];
        }
    });
    [dimages, dw, dbias, dcls, dpos]
}
