//! Random changes of training images, as the published program makes them (`docs/recipe.md`).
//!
//! - [`levels`], [`enhance`], [`affine`]: the changes themselves, with Pillow's 8-bit arithmetic
//! - [`rand_augment`]: which of them a picture gets, drawn by a policy such as `rand-m9-mstd0.5-inc1`
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
    /// The smallest share of the picture's area that a random crop keeps, in (0, 1].
    pub scale_min: f64,
    /// Whether half of the images are mirrored.
    pub flip: bool,
    /// The policy that draws further changes.
    pub auto: Option<RandAugment>,
    /// Without a policy, brightness, contrast and saturation change by up to this share.
    pub colour_jitter: f64,
    /// The share of the images in which a box becomes noise.
    pub erase: f64,
}

impl Default for Augment {
    /// Crops of at least 8 % of the area, and mirror images.
    fn default() -> Self {
        Augment { scale_min: 0.08, flip: true, auto: None, colour_jitter: 0.0, erase: 0.0 }
    }
}

impl Augment {
    /// Makes the changes that follow crop and mirroring: those of the policy, or else the colour jitter.
    pub(crate) fn change(&self, image: &mut RgbImage, rng: &mut Rng) {
        match self.auto {
            Some(policy) => policy.draw(rng).into_iter().for_each(|change| change.apply(image)),
            None if self.colour_jitter > 0.0 => enhance::jitter(image, self.colour_jitter, rng),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
