//! Images as a trained model takes them.

use engine::Rng;
use image::RgbImage;
use svp::data::Transform;
use svp::train::TrainedModel;

/// Prepares images as the evaluation of a trained model does.
pub struct Preparation(Transform);

impl Preparation {
    /// The preparation for a model, or for its backbone alone where the model's method is not to adapt it.
    pub fn of(loaded: &TrainedModel, adapted: bool) -> Self {
        let model = &loaded.model;
        Preparation(if adapted { model.transform() } else { model.backbone_transform() })
    }

    /// The transform itself, for a loader.
    pub fn into_transform(self) -> Transform {
        self.0
    }

    /// The part of an image that the model sees, in its input size.
    pub fn picture(&self, image: &RgbImage) -> RgbImage {
        self.0.pixels(image, &mut undrawn())
    }

    /// Side of the input in pixels.
    pub fn side(&self) -> usize {
        self.0.size as usize
    }

    /// The input of the model for an image: values `[3 side side]`.
    pub fn values(&self, image: &RgbImage) -> Vec<f32> {
        let mut values = vec![0.0; self.0.values()];
        self.0.apply(image, &mut undrawn(), &mut values);
        values
    }
}

/// Random numbers for a transform that draws none.
fn undrawn() -> Rng {
    Rng::keyed(0, 0, 0, 0)
}
