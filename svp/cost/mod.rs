//! What methods cost on a backbone, measured on a device: parameters, FLOP, memory, latency, training speed.
//!
//! - [`Trial`]: a model in training on random images
//! - [`measure`]: the costs of several methods, which take turns on the clock
//! - [`text`], [`csv`]: the costs as a table and as a file; [`table8`]: as iVPT has them

mod table;
pub mod table8;
mod trial;

#[cfg(test)]
mod tests;

use engine::Device;
use serde::Serialize;

use crate::train::TrainConfig;
use crate::{Error, Result};

pub use table::{csv, text};
pub use trial::{Count, Trial};

/// A method whose cost is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its name in the results.
    pub name: String,
    /// Its settings, the backbone and the batch.
    pub config: TrainConfig,
    /// Whether it is an error, and not left out, where it does not fit the backbone.
    pub needed: bool,
}

/// How often things are timed.
#[derive(Debug, Clone, Copy)]
pub struct Repeats {
    /// Rounds in which every method has a turn, at least 1.
    pub rounds: usize,
    /// Evaluations and steps that are timed in a turn, at least 1.
    pub times: usize,
}

/// What a method costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Its name, with the settings that were asked for.
    pub method: String,
    /// Trained parameters, in millions, those of the head among them.
    pub params_m: f64,
    /// Trained parameters.
    pub trained_parameters: usize,
    /// Trained parameters without those of the head.
    pub without_head: usize,
    /// Additions and multiplications of an evaluation, for an image, in 10^9.
    pub gflop: f64,
    /// The same of the forward and the backward pass of a training step.
    pub train_gflop: f64,
    /// Median time of the evaluation of a batch, in milliseconds.
    pub latency_ms: f64,
    /// Median time of a training step, in milliseconds.
    pub train_ms: f64,
    /// Images that are trained in a second, by the median step.
    pub train_images_per_s: f64,
    /// Most memory of tensors and weights in a training step, in 10^6 bytes.
    pub memory_mb: f64,
    /// Most memory of tensors and weights in an evaluation, in 10^6 bytes.
    pub evaluation_memory_mb: f64,
}

/// Measures every method. All are counted first, so that one that cannot be built is found before the clock runs. Then,
/// in each round, every method has a turn, so that what else the device does slows all alike. Each has memory of its own.
/// `tell` gets a line before each turn, the facts that a method's survey noted, and which methods are left out.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` returns true; a backbone that cannot be loaded, a method that is needed and does
/// not fit it, and faults of the device.
pub fn measure(
    asked: &[Asked],
    classes: usize,
    device: &Device,
    repeats: Repeats,
    tell: &dyn Fn(&str),
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Cost>> {
    let trial = |Asked { name, config, .. }: &Asked| {
        check(stop)?;
        Trial::new(config, classes, &device.with_own_memory(), stop).map_err(|e| e.within(name))
    };
    let mut counted = vec![];
    for asked in asked {
        let name = &asked.name;
        match trial(asked) {
            Err(e @ Error::Input { .. }) if !asked.needed => tell(&format!("left out: {e}")),
            Err(e) => return Err(e),
            Ok((mut trial, notes)) => {
                notes.iter().for_each(|note| tell(&format!("{name}: {note}")));
                counted.push((asked, trial.count().map_err(|e| e.within(name))?, [vec![], vec![]]));
            }
        }
    }
    for round in 1..=repeats.rounds {
        for (asked, _, [evaluations, steps]) in &mut counted {
            tell(&format!("round {round} of {}: {}", repeats.rounds, asked.name));
            let (mut trial, _) = trial(asked)?;
            trial.warm_up()?;
            for _ in 0..repeats.times {
                check(stop)?;
                evaluations.push(trial.evaluation_seconds()?);
            }
            check(stop)?;
            steps.push(trial.step_seconds(repeats.times)?);
        }
    }
    Ok(counted.into_iter().map(|(asked, count, seconds)| cost(asked, &count, seconds)).collect())
}

/// Ends a measurement that a signal asked to stop.
fn check(stop: &dyn Fn() -> bool) -> Result<()> {
    match stop() {
        true => Err(Error::Interrupted { step: 0, hint: "run it again".into() }),
        false => Ok(()),
    }
}

fn cost(asked: &Asked, count: &Count, [evaluations, steps]: [Vec<f64>; 2]) -> Cost {
    let batch = asked.config.batch_size as f64;
    let step = median(steps);
    Cost {
        method: asked.name.clone(),
        params_m: 1e-6 * count.trained as f64,
        trained_parameters: count.trained,
        without_head: count.without_head,
        gflop: 1e-9 * count.evaluation_flop / batch,
        train_gflop: 1e-9 * count.step_flop / batch,
        latency_ms: 1e3 * median(evaluations),
        train_ms: 1e3 * step,
        train_images_per_s: batch / step,
        memory_mb: 1e-6 * count.step_bytes as f64,
        evaluation_memory_mb: 1e-6 * count.evaluation_bytes as f64,
    }
}

/// The middle of some values, the mean of both where there are two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    (low + high) / 2.0
}
