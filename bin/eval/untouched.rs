//! A backbone with its own head, on folders of that head's classes.

use svp::Result;
use svp::data::{Dataset, Layout, LoaderOptions};
use svp::imagenet::{Logits, logits};
use svp::train::{Feed, untouched};
use svp_cli::{Images, Measure, Noise, Using, tell, workers};

use crate::Measured;

/// Images that are computed together.
const BATCH: usize = 32;

/// Loads the backbone and opens the images.
pub fn open(measure: &Measure, noise: &Noise, using: &Using) -> Result<Measured> {
    let device = using.compute.start()?;
    let (model, notes) = untouched(using.backbone.as_deref(), &device)?;
    notes.iter().for_each(|note| tell(note));
    let place = measure.data.as_deref().expect("clap requires it");
    let data = Dataset::open_labelled(place, Layout::Auto, 0, measure.allow_outside)?;
    let Logits { of, names, note } = logits(place, &data.classes, model.classes())?;
    tell(&note);
    let transform = model.transform();
    let noise = noise.of(&model, 0)?;
    let options = LoaderOptions { noise, ..LoaderOptions::eval(BATCH, workers()) };
    let data = data.relabelled(&names, &of)?;
    let images = measure.choose(data, place, |samples| Feed::images(samples, transform, options))?;
    let images = Images { noise, ..images };
    Ok(Measured { model, classes: names, images, data: place.display().to_string() })
}
