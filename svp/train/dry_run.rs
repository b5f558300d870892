//! What a run would do: everything checked, one step made, nothing written.

use engine::Device;
use serde::Serialize;

use super::config::TrainConfig;
use super::prepare::prepare;
use super::setup;
use super::stepper::Stepper;
use crate::model::{ParameterCount, count_parameters};
use crate::{Error, Result};

/// What a dry run found.
#[derive(Debug, Clone, Serialize)]
pub struct DryRun {
    pub method: &'static str,
    pub data: String,
    pub classes: usize,
    /// Images to train, validate and test on.
    pub images: [usize; 3],
    pub parameters: Vec<ParameterCount>,
    pub steps_per_epoch: usize,
    pub steps: u64,
    /// Of the one step.
    pub loss: f32,
    /// Most memory held by tensors in the one step, backbone file excluded.
    pub peak_tensor_bytes: usize,
    /// Facts about checkpoint and data, a line each.
    pub notes: Vec<String>,
}

/// Loads checkpoint and data, and makes the first training step in memory.
///
/// # Errors
/// Those of a run up to and including its first step.
pub fn dry_run(config: &TrainConfig, device: &Device) -> Result<DryRun> {
    let mut prepared = prepare(config, device)?;
    let (model, data) = (&mut prepared.model, &prepared.data);
    let size = model.spec().img_size;
    let train = setup::train_images(config, model.spec(), data)?;
    let first = train.epoch(0, 0, size).next();
    let mut batch = first.ok_or_else(|| Error::input("data", "there is no batch", "add images"))??;
    if config.keeps_features() {
        batch.input = model.features(batch.input)?;
    }
    let mut stepper = Stepper::new(model, config.step_settings());
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
