//! Finds the batch size that fits into memory.
//!
//! The memory of a step grows linearly with the batch, so two small batches predict which batch fills the free memory.
//! On a device that can run out of memory the prediction is tried, and reduced until it fits.

use engine::{Device, Rng, Tensor, budget, or_out_of_memory};

use super::config::TrainConfig;
use super::feed::FeedBatch;
use super::setup;
use super::stepper::Stepper;
use crate::data::Dataset;
use crate::heads::Labels;
use crate::model::Model;
use crate::{Error, Result};

/// The published settings use no larger batches, so anything above is left to an explicit `--batch-size`.
const MOST: usize = 128;
/// Share of the free memory to use.
const USED: f64 = 0.9;
/// Sizes of the two small batches that are measured.
const SMALL: [usize; 2] = [2, 4];
/// Steps of a trial. A launched device records the third one, which takes memory of its own.
const STEPS: usize = 3;

/// The largest batch whose steps and evaluation fit into the free memory of `device`, or of this machine where the
/// device has no memory of its own. It is at most 128 and at most the training images, and a multiple of 8 from 8 on.
///
/// Errors of loading model and data; a batch of 1 that does not fit; a system that does not report its free memory.
pub fn fitting_batch_size(config: &TrainConfig, device: &Device) -> Result<usize> {
    let mut loaded = Loaded::new(config, device).map_err(|e| nothing_fits(e, device))?;
    let most = MOST.min(loaded.data.train.len() / config.accumulate).max(1);
    if config.keeps_features() {
        return Ok(most); // Features are small enough for any batch.
    }
    let free = free_memory(device)?;
    let [low, high] = SMALL.map(|b| loaded.trial(b));
    let (low, high) = match (low, high) {
        (Ok(low), Ok(high)) => (low as f64, high as f64),
        (Err(e), _) | (_, Err(e)) if out_of_memory(&e) => {
            return loaded.trial(1).map(|_| 1).map_err(|e| nothing_fits(e, device));
        }
        (Err(e), _) => return Err(refused(e, SMALL[0])),
        (_, Err(e)) => return Err(refused(e, SMALL[1])),
    };
    // Allocations are rounded up to size classes, so two equal measurements must not make the line flat.
    let each = ((high - low) / (SMALL[1] - SMALL[0]) as f64).max(high / (2 * SMALL[1]) as f64);
    let fixed = (high - each * SMALL[1] as f64).max(0.0);
    let mut batch = rounded(((USED * free as f64 - fixed) / each) as usize).min(most);
    loop {
        batch = batch.max(1);
        match loaded.confirm(batch) {
            Ok(()) => return Ok(batch),
            Err(e) if out_of_memory(&e) && batch > 1 => batch = rounded(batch * 7 / 8).min(batch - 1),
            Err(e) => return Err(refused(nothing_fits(e, device), batch)),
        }
    }
}

/// Adds advice to the error of a run that ran out of the memory; other errors are returned unchanged.
pub fn explain_memory(error: Error, config: &TrainConfig, device: &Device) -> Error {
    if !out_of_memory(&error) {
        return error;
    }
    device.trim();
    let hint = match fitting_batch_size(config, device) {
        Ok(fits) if fits < config.batch_size => {
            let times = (config.batch_size * config.accumulate).div_ceil(fits);
            format!("--batch-size {fits} fits; with --accumulate {times} a step still sees as many images")
        }
        Ok(fits) => format!("--batch-size {fits} fits now: something else used the memory, so run again"),
        Err(_) => {
            format!("not even --batch-size 1 fits; {}", less(device))
        }
    };
    Error::input(format!("--batch-size {}", config.batch_size), error.to_string(), hint)
}

fn out_of_memory(error: &Error) -> bool {
    matches!(error, Error::Engine(engine::Error::Memory { .. }))
}

fn nothing_fits(error: Error, device: &Device) -> Error {
    if !out_of_memory(&error) {
        return error;
    }
    let what = format!("not even 1 fits into the memory of the {} device: {error}", device.name());
    Error::input("--batch-size auto", what, less(device))
}

/// What to do where no batch fits.
fn less(device: &Device) -> &'static str {
    match device {
        Device::Cpu(_) => "use a smaller model or smaller images, or raise --max-memory",
        Device::Launched(_) => "use --precision bf16, a smaller model, or --device cpu",
    }
}

/// A step of `batch` images that the device refuses for another reason than memory, such as a launch that is too large
/// for it: a smaller batch is no answer, so none is looked for.
fn refused(error: Error, batch: usize) -> Error {
    match error {
        Error::Engine(error @ (engine::Error::Device { .. } | engine::Error::Unsupported { .. })) => {
            Error::input(
                "--batch-size auto",
                format!("memory is not what a step of {batch} images is short of: {error}"),
                "--device cpu computes without a GPU",
            )
        }
        other => other,
    }
}

/// Rounds down to a multiple of 8, which matrix products run fastest on; smaller batches are kept.
fn rounded(batch: usize) -> usize {
    if batch >= 8 { batch / 8 * 8 } else { batch }
}

/// Free bytes of the device, or of this machine.
fn free_memory(device: &Device) -> Result<usize> {
    if let Some([free, _]) = device.own_memory() {
        return Ok(free);
    }
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok()
    });
    let unknown = || {
        Error::input("--batch-size auto", "this system does not say how much memory is free", "give a number")
    };
    // On the CPU, tensors count against the program's budget.
    let left = usize::try_from(budget::left()).unwrap_or(usize::MAX);
    available.map(|kib| (kib * 1024).min(left)).ok_or_else(unknown)
}

/// A model and data on which batch sizes are tried.
struct Loaded {
    config: TrainConfig,
    model: Model,
    data: Dataset,
}

impl Loaded {
    fn new(config: &TrainConfig, device: &Device) -> Result<Self> {
        or_out_of_memory(|| Self::load(config, device))
    }

    fn load(config: &TrainConfig, device: &Device) -> Result<Self> {
        config.check()?;
        config.precision.check(device)?;
        let data = setup::dataset(config)?;
        let (model, _) = setup::model(config, device, setup::backbone(config)?, &data.classes)?;
        Ok(Loaded { config: config.clone(), model, data })
    }

    /// Bytes that steps and an evaluation of a batch take beside the model.
    fn trial(&mut self, batch: usize) -> Result<usize> {
        or_out_of_memory(|| self.tried(batch))
    }

    fn tried(&mut self, batch: usize) -> Result<usize> {
        let device = self.model.device.clone();
        device.trim();
        let before = device.held();
        let size = self.model.transform().size as usize;
        let mut rng = Rng::keyed(0, 0, 0, 0);
        let images: Vec<f32> = (0..batch * 3 * size * size).map(|_| rng.range(-1.0, 1.0) as f32).collect();
        let input = Tensor::from_vec(images, &[batch, 3, size, size]);
        let (indices, keys): (Vec<u32>, Vec<u32>) = (0..batch as u32).map(|i| (i, i)).unzip();
        let labels = Labels::Classes(vec![0; batch]);
        let mut stepper = Stepper::new(&self.model, self.config.step_settings());
        let (assignment, own_share) = (None, 1.0);
        let batches = [FeedBatch { input: input.clone(), labels, indices, keys, assignment, own_share }];
        for _ in 0..STEPS {
            stepper.submit(&mut self.model, &batches, 0, 0.0)?.wait()?;
        }
        self.model.logits(input)?.to_host()?;
        let held = device.held() - before;
        drop(stepper);
        device.trim();
        Ok(held)
    }

    /// Tries the batch on a device with its own memory. The machine's memory is not filled, since running out of it
    /// would end the process.
    fn confirm(&mut self, batch: usize) -> Result<()> {
        if self.model.device.own_memory().is_some() { self.trial(batch).map(drop) } else { Ok(()) }
    }
}
