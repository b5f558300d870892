//! A dry run: checks everything, makes one step and writes nothing.

use engine::Device;
use serde::Serialize;

use super::class_weights::ClassFactors;
use super::config::TrainConfig;
use super::lr_range::Rate;
use super::prepare::prepare;
use super::setup;
use super::stepper::Stepper;
use crate::model::{ParameterCount, count_parameters};
use crate::{Error, Result};

/// What a dry run found.
#[derive(Debug, Clone, Serialize)]
pub struct DryRun {
    /// Name of the method.
    pub method: &'static str,
    /// Where the data set lies.
    pub data: String,
    /// Number of classes.
    pub classes: usize,
    /// Images of the training, validation and test splits.
    pub images: [usize; 3],
    /// Parameters by group, all and trained.
    pub parameters: Vec<ParameterCount>,
    /// Steps of one epoch.
    pub steps_per_epoch: usize,
    /// Steps of the whole run.
    pub steps: u64,
    /// Loss of the one step.
    pub loss: f32,
    /// Peak bytes held by tensors during the step, without the backbone's file in memory.
    pub peak_tensor_bytes: usize,
    /// Facts about the checkpoint and the data, one line each.
    pub notes: Vec<String>,
}

/// Loads the checkpoint and the data, and makes the first training step in memory.
///
/// [`Error::Interrupted`] once `stop` returns true during a survey; those of a run up to and including its first step; [`Error::Diverged`] where that step is not finite.
pub fn dry_run(config: &TrainConfig, device: &Device, stop: &dyn Fn() -> bool) -> Result<DryRun> {
    let mut prepared = prepare(config, device, None, stop)?;
    let (model, data) = (&mut prepared.model, &prepared.data);
    let train = setup::train_images(config, model, data)?;
    let first = train.epoch(0, 0).next();
    let mut batch = first.ok_or_else(|| Error::input("data", "there is no batch", "add images"))??;
    if config.keeps_features() {
        batch.input = model.features(batch.input)?;
    }
    // A rate that is still to be found is the default for this one step.
    let defaults = config.method.defaults(model.spec());
    let config = &match config.lr {
        Rate::Auto => TrainConfig { lr: Rate::At(defaults.lr), ..config.clone() },
        Rate::At(_) => config.clone(),
    };
    let mut stepper = Stepper::new(model, config.step_settings());
    stepper.weights = setup::class_weights(config, data);
    prepared.notes.extend(stepper.weights.as_ref().map(ClassFactors::describe));
    let batches = [batch];
    let health = stepper.submit(model, &batches, 0, config.schedule().epoch(0))?.wait()?;
    if !health.finite {
        let what = stepper.find_fault(model, &batches, 0);
        let hint = "check the checkpoint".into();
        return Err(Error::Diverged { step: 1, loss: health.loss, what, hint });
    }
    let steps_per_epoch = config.steps_per_epoch(train.batches());
    Ok(DryRun {
        method: config.method.entry.name,
        data: config.data.display().to_string(),
        classes: data.classes.len(),
        images: [Some(&data.train), data.val.as_ref(), data.test.as_ref()].map(|s| s.map_or(0, Vec::len)),
        parameters: count_parameters(&model.params),
        steps_per_epoch,
        steps: steps_per_epoch as u64 * u64::from(config.epochs),
        loss: health.loss,
        peak_tensor_bytes: device.memory().0,
        notes: prepared.notes,
    })
}
