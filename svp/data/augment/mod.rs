//! Random changes of training images, as the published program makes them (`spec/recipe.md` sections 9 to 11).
//!
//! - [`rand_augment`]: which changes a picture gets, drawn from a policy such as `rand-m9-mstd0.5-inc1`
//! - [`affine`], [`enhance`], [`levels`]: the changes, with Pillow's 8-bit arithmetic
//! - [`erase`]: a box of noise in the normalised picture
//! - [`mix`]: mixup and cutmix of whole batches

pub mod affine;
pub mod enhance;
pub mod erase;
pub mod levels;
pub mod mix;
pub mod rand_augment;

use engine::Rng;
use image::RgbImage;

pub use mix::{Mix, blend_mirrored};
pub use rand_augment::{Change, RandAugment};

/// Random changes of training images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Smallest share of the picture's area that a random crop keeps, in (0, 1].
    pub scale_min: f64,
    /// Mirror half of the images.
    pub flip: bool,
    /// Changes drawn from a policy.
    pub auto: Option<RandAugment>,
    /// Without a policy: brightness, contrast and saturation change by up to this share.
    pub colour_jitter: f64,
    /// Share of the images that lose a box to noise.
    pub erase: f64,
}

impl Default for Augment {
    /// Crops and mirror images.
    fn default() -> Self {
        Augment { scale_min: 0.08, flip: true, auto: None, colour_jitter: 0.0, erase: 0.0 }
    }
}

impl Augment {
    /// What follows crop and mirroring: the policy, or else the colour jitter.
    pub(super) fn change(&self, image: &mut RgbImage, rng: &mut Rng) {
        match self.auto {
            Some(policy) => policy.draw(rng).into_iter().for_each(|change| change.apply(image)),
            None if self.colour_jitter > 0.0 => enhance::jitter(image, self.colour_jitter, rng),
            None => {}
        }
    }
}

/// Red, green and blue of every pixel.
fn pixels(image: &mut RgbImage) -> &mut [[u8; 3]] {
    image.as_chunks_mut().0
}

#[cfg(test)]
mod tests;
