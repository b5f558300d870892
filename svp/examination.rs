//! What a model makes of the images of a split: accuracy, confusions and calibration.

use crate::Result;
use crate::calibration::Calibration;
use crate::confusion::Confusion;
use crate::model::Model;
use crate::train::{Count, Evaluation, Feed, each_image, ranking, softmax};

/// The result of an examination.
pub struct Examination {
    /// Accuracy and loss.
    pub found: Evaluation,
    /// Which classes were taken for which.
    pub confusion: Confusion,
    /// Expected calibration error, 0 to 1.
    pub calibration_error: f64,
}

/// An image of which the model says something else than its class.
pub struct Wrong {
    /// Position in the split.
    pub index: u32,
    /// Its class.
    pub truth: u32,
    /// What the model says.
    pub said: u32,
    /// The probability that the model gives it.
    pub probability: f64,
}

impl Examination {
    /// Examines `model` on a whole split, and passes every mistake to `wrong`.
    ///
    /// # Errors
    /// More than 1 % of broken images, and faults of the device.
    pub fn of(model: &Model, feed: &Feed, wrong: &mut dyn FnMut(Wrong)) -> Result<Self> {
        let mut count = Count::new(model.classes());
        let (mut confusion, mut calibration) = (Confusion::default(), Calibration::default());
        each_image(model, feed, &|| false, &mut |logits, truth, index| {
            count.add(logits, truth);
            let said = ranking(logits)[0] as u32;
            let probability = softmax(logits)[said as usize];
            confusion.add(truth, said);
            calibration.add(probability, said == truth);
            if said != truth {
                wrong(Wrong { index, truth, said, probability });
            }
        })?;
        Ok(Examination { found: count.found(), confusion, calibration_error: calibration.error() })
    }
}
