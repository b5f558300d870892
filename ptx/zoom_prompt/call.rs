//! The sizes of a call.

use autograd::Var;
use engine::shape::{axes, axes3, check_shape};
use engine::{Error, Result};

pub(super) const OP: &str = "zoom_prompt";

/// Channels of an image: red, green and blue.
pub(super) const CHANNELS: usize = 3;

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const DELTA: usize = 1;
    pub const SCALE: usize = 2;
}

/// The mean and the standard deviation of each channel over the images that a model was trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// What is subtracted.
    pub mean: [f32; CHANNELS],
    /// What is divided by.
    pub deviation: [f32; CHANNELS],
}

impl Normalisation {
    /// What each channel is multiplied by.
    pub(super) fn rates(&self) -> [f32; CHANNELS] {
        self.deviation.map(f32::recip)
    }
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    /// Images.
    pub b: usize,
    /// Pixels of a side of an image.
    pub s: usize,
    /// Pixels of a side of the output, S.
    pub size: usize,
}

impl Dims {
    /// The shape of the output.
    pub fn output(self) -> [usize; 4] {
        [self.b, CHANNELS, self.size, self.size]
    }

    /// The shape of delta.
    pub fn prompt(self) -> [usize; 3] {
        [CHANNELS, self.size, self.size]
    }

    /// Rows of zeros above an image, and columns to its left.
    pub fn pad(self) -> usize {
        (self.size - self.s).div_ceil(2)
    }
}

/// The sizes, if the shapes fit.
pub(super) fn check(images: &Var, delta: &Var, scale: &Var) -> Result<Dims> {
    let [b, _, s, _] = axes(OP, "images", "[b 3 s s]", images.shape())?;
    check_shape(OP, "images", "[b 3 s s]", &[b, CHANNELS, s, s], images.shape())?;
    let [_, size, _] = axes3(OP, "delta", "[3 S S]", delta.shape())?;
    check_shape(OP, "delta", "[3 S S]", &[CHANNELS, size, size], delta.shape())?;
    check_shape(OP, "scale", "[1]", &[1], scale.shape())?;
    let refuse = |what: String| Err(Error::Unsupported { op: OP, what });
    if s > size {
        return refuse(format!("images of {s} pixels do not fit a prompt of {size} pixels"));
    }
    if images.wants_grad() {
        return refuse("images want a gradient, and get none".into());
    }
    Ok(Dims { b, s, size })
}
