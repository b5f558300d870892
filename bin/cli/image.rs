//! Images as a trained model takes them.

use std::path::{Path, PathBuf};

use engine::Rng;
use image::RgbImage;
use svp::data::{Sample, Source, Transform, Turn, decode, pictures};
use svp::train::TrainedModel;
use svp::{Error, Result};

use crate::output::tell;

/// The image itself, or the images in and below a folder; what is left out there is told.
///
/// # Errors
/// A folder that cannot be listed or has no images.
pub fn images_at(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let found = pictures(path)?;
    found.left_out.iter().for_each(|line| tell(line));
    if found.paths.is_empty() {
        return Err(Error::path(path, "has no images", "give image files or a folder of them"));
    }
    Ok(found.paths)
}

/// Prepares images as the evaluation of a trained model does.
pub struct Preparation {
    transform: Transform,
    turn: Turn,
}

impl Preparation {
    /// The preparation for a model, or for its backbone alone where the model's method is not to adapt it. Pictures of a
    /// turned camera are turned unless the run's config says otherwise.
    pub fn of(loaded: &TrainedModel, adapted: bool) -> Self {
        let turned = loaded.config.as_ref().is_none_or(|config| config.exif_orientation);
        let turn = if turned { Turn::Upright } else { Turn::AsStored };
        let model = &loaded.model;
        let transform = if adapted { model.transform() } else { model.backbone_transform() };
        Preparation { transform, turn }
    }

    /// Reads an image file.
    ///
    /// # Errors
    /// A file that cannot be read or decoded.
    pub fn read(&self, path: &Path) -> Result<RgbImage> {
        decode::read_turned(path, self.turn)
    }

    /// An image file for a loader, which has the class 0.
    pub fn sample(&self, path: &Path) -> Sample {
        Sample { turn: self.turn, ..Sample::new(Source::File(path.into()), 0) }
    }

    /// The transform itself, for a loader.
    pub fn into_transform(self) -> Transform {
        self.transform
    }

    /// The part of an image that the model sees, in its input size.
    pub fn picture(&self, image: &RgbImage) -> RgbImage {
        self.transform.pixels(image, &mut undrawn())
    }

    /// Side of the input in pixels.
    pub fn side(&self) -> usize {
        self.transform.size as usize
    }

    /// The input of the model for an image: values `[3 side side]`.
    pub fn values(&self, image: &RgbImage) -> Vec<f32> {
        let mut values = vec![0.0; self.transform.values()];
        self.transform.apply(image, &mut undrawn(), &mut values);
        values
    }
}

/// Random numbers for a transform that draws none.
fn undrawn() -> Rng {
    Rng::keyed(0, 0, 0, 0)
}
