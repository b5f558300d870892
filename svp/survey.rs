//! What a method may look at before training begins: the frozen backbone and the training images.

use std::sync::Arc;

use engine::Tensor;

use crate::data::{Loader, LoaderOptions, OnBroken, Sample, Transform};
use crate::methods::{Settings, Value};
use crate::model::Model;
use crate::{Error, Result};

/// A method's survey, as its entry holds it. It is made once, when a run begins: a run that is resumed and a trained
/// file have what was found.
pub struct Surveyor {
    /// Names of the settings whose values are found. The trained file holds those values, the run's config the ones
    /// that were asked for.
    pub fills: &'static [&'static str],
    /// Whether it can look at a trained run of the same method too (`--prune-from`).
    pub reads_run: bool,
    /// Looks and finds. The settings are those of the run.
    pub look: fn(&Settings, &Survey) -> Result<Found>,
}

/// What a survey found.
#[derive(Default)]
pub struct Found {
    /// Values of the settings that [`Surveyor::fills`] names.
    pub settings: Vec<(&'static str, Value)>,
    /// Initial values of the method's parameters, by name.
    pub values: Vec<(String, Tensor)>,
    /// Facts for the log, one line each.
    pub notes: Vec<String>,
}

/// The frozen backbone and the training images of a run that is about to begin.
pub struct Survey<'a> {
    /// The backbone, which no method adapts.
    pub model: &'a Model,
    /// What another run of the method has trained on this backbone for these classes, where one is given.
    pub trained: Option<&'a Model>,
    /// Seed of the run.
    pub seed: u64,
    pub(crate) samples: &'a [Sample],
    pub(crate) transform: Transform,
    /// Images of a batch.
    pub(crate) batch: usize,
    pub(crate) workers: usize,
    pub(crate) stop: &'a dyn Fn() -> bool,
}

impl Survey<'_> {
    /// Number of training images.
    pub fn images(&self) -> usize {
        self.samples.len()
    }

    /// Reads the training images at these positions, which may repeat, and passes them to `each` in batches
    /// `[b 3 s s]` of that order, transformed as for training. An image that cannot be read is replaced by the next one.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after a stop, more than 1 % of broken images, and errors of `each`.
    pub fn each_batch(&self, positions: &[usize], each: &mut dyn FnMut(Tensor) -> Result<()>) -> Result<()> {
        self.each_labelled_batch(positions, &mut |images, _| each(images))
    }

    /// [`Survey::each_batch`] with the class of each image.
    ///
    /// # Errors
    /// The same.
    pub fn each_labelled_batch(
        &self,
        positions: &[usize],
        each: &mut dyn FnMut(Tensor, Vec<u32>) -> Result<()>,
    ) -> Result<()> {
        let samples = positions.iter().map(|&position| self.samples[position].clone()).collect();
        let options = LoaderOptions {
            seed: self.seed,
            on_broken: OnBroken::Replace,
            ..LoaderOptions::eval(self.batch, self.workers)
        };
        let (loader, s) =
            (Loader::new(Arc::new(samples), self.transform, options)?, self.model.spec().img_size);
        for batch in loader.epoch(0, 0) {
            if (self.stop)() {
                return Err(Error::Interrupted { step: 0, hint: "run it again".into() });
            }
            let batch = batch?;
            let b = batch.labels.len();
            each(Tensor::from_vec(batch.images, &[b, 3, s, s]), batch.labels)?;
        }
        Ok(())
    }
}
