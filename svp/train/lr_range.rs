//! `--lr auto`: a range test finds the learning rate (Smith 2017, "Cyclical Learning Rates for Training Neural Networks",
//! section 3.3).
//!
//! Before the run, a few steps are made on training images, each at a higher rate than the one before it. The loss falls,
//! and rises again where the rate is too high. The rate of the run is a share of that at which the smoothed loss was
//! lowest. Then all parameters are put back. The test depends on the seed alone, so that a run that was stopped in it can
//! make it again.

use serde::{Deserialize, Serialize};

use super::class_weights::ClassFactors;
use super::config::TrainConfig;
use super::feed::Feed;
use super::log::Log;
use super::stepper::{StepSettings, Stepper};
use crate::model::Model;
use crate::report::LrRange;
use crate::{Error, Result};

/// Most steps of a test; one has at least [`LEAST`], and else a fifth of the steps of the run.
const MOST: u64 = 100;
const LEAST: u64 = 30;
/// First and last rate over the default of method and backbone.
const SPAN: [f64; 2] = [1e-2, 1e2];
/// A test ends where the smoothed loss is so many times its lowest value.
const RISEN: f64 = 2.0;
/// The chosen rate over that of the lowest smoothed loss.
const SHARE: f64 = 0.25;

/// A learning rate at 512 images a step, or the word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "toml::Value", into = "toml::Value")]
pub enum Rate {
    /// This rate.
    At(f64),
    /// A rate that a range test finds before the first step.
    Auto,
}

impl Rate {
    /// The rate; NaN where it is still to be found.
    pub fn value(self) -> f64 {
        match self {
            Rate::At(rate) => rate,
            Rate::Auto => f64::NAN,
        }
    }
}

/// What a text says that is no rate.
const NO_RATE: &str = "a rate is a number, or auto";

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Rate::Auto),
            _ => text.parse().map(Rate::At).map_err(|_| NO_RATE.into()),
        }
    }
}

impl TryFrom<toml::Value> for Rate {
    type Error = String;

    fn try_from(value: toml::Value) -> std::result::Result<Self, String> {
        match value {
            toml::Value::Float(rate) => Ok(Rate::At(rate)),
            toml::Value::Integer(rate) => Ok(Rate::At(rate as f64)),
            toml::Value::String(text) if text == "auto" => Ok(Rate::Auto),
            _ => Err(NO_RATE.into()),
        }
    }
}

impl From<Rate> for toml::Value {
    fn from(rate: Rate) -> Self {
        match rate {
            Rate::At(rate) => rate.into(),
            Rate::Auto => "auto".into(),
        }
    }
}

/// The rate that a range test finds, which the run folder gets too.
pub(super) fn found_rate(
    config: &TrainConfig,
    weights: Option<ClassFactors>,
    model: &mut Model,
    train: &Feed,
    log: &mut Log,
    stop: &dyn Fn() -> bool,
) -> Result<f64> {
    log.progress
        .line(&format!("looking for a learning rate, in at most {} steps", most_steps(config, train)));
    let range = find(config, weights, model, train, stop)?;
    range.write(log.run.path())?;
    log.progress.line(&format!("learning rate: {:e}, found in {} steps", range.lr, range.rates.len()));
    Ok(range.lr)
}

/// Makes a range test of `model` on the training images of `train`, and leaves the model as it was.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` returns true, images that cannot be read, and faults of the device.
fn find(
    config: &TrainConfig,
    weights: Option<ClassFactors>,
    model: &mut Model,
    train: &Feed,
    stop: &dyn Fn() -> bool,
) -> Result<LrRange> {
    let kept: Vec<_> =
        model.params.trained().into_iter().map(|id| (id, model.params.get(id).clone())).collect();
    // Steps change tensors in place, so they get copies.
    for (id, value) in &kept {
        model.params.set(*id, value.to_owned_on(&model.device));
    }
    let mut stepper = Stepper::new(model, StepSettings { ema_decay: 0.0, ..config.step_settings() });
    stepper.weights = weights;
    let tested = steps(config, &mut stepper, model, train, stop);
    for (id, value) in kept {
        model.params.set(id, value);
    }
    Ok(chosen(tested?))
}

/// Number of steps of a test.
fn most_steps(config: &TrainConfig, train: &Feed) -> u64 {
    let all = u64::from(config.epochs) * config.steps_per_epoch(train.batches()) as u64;
    (all / 5).clamp(LEAST, MOST)
}

/// The steps of a test, with their rates and losses.
fn steps(
    config: &TrainConfig,
    stepper: &mut Stepper,
    model: &mut Model,
    train: &Feed,
    stop: &dyn Fn() -> bool,
) -> Result<LrRange> {
    let [first, last] = SPAN.map(|share| share * config.method.defaults(model.spec()).lr);
    let (most, each) = (most_steps(config, train), config.steps_per_epoch(train.batches()));
    let mut range = LrRange::default();
    let mut feed = train.epoch(0, 0);
    for step in 0..most {
        let epoch = (step / each as u64) as u32;
        if step > 0 && step.is_multiple_of(each as u64) {
            feed = train.epoch(epoch, 0);
        }
        let batches = feed.by_ref().take(config.accumulate).collect::<Result<Vec<_>>>()?;
        let rate = first * (last / first).powf(step as f64 / (most - 1) as f64);
        let health = stepper.submit(model, &batches, epoch, rate * config.lr_scale())?.wait()?;
        if stop() {
            return Err(Error::Interrupted { step: 0, hint: "run it again".into() });
        }
        if !health.finite {
            break;
        }
        range.rates.push(rate);
        range.losses.push(health.loss);
        let smoothed = range.smoothed();
        let lowest = smoothed.iter().copied().fold(f64::INFINITY, f64::min);
        if smoothed.last().is_some_and(|&now| now > RISEN * lowest) {
            break;
        }
    }
    // The first rate stands where not even it could be tried.
    range.lr = first;
    Ok(range)
}

/// The test with its choice.
fn chosen(range: LrRange) -> LrRange {
    let lowest = range.smoothed().into_iter().zip(&range.rates).min_by(|a, b| a.0.total_cmp(&b.0));
    // Three digits are as many as such a test can tell.
    let rounded = |rate: f64| format!("{rate:.2e}").parse().expect("a number");
    LrRange { lr: lowest.map_or(range.lr, |(_, rate)| rounded(SHARE * rate)), ..range }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_lies_below_the_lowest_loss() {
        let rates: Vec<f64> = (0..60).map(|i| 1e-3 * 1.2_f64.powi(i)).collect();
        let losses =
            (0..60).map(|i| if i < 40 { 2.0 - 0.03 * i as f32 } else { 0.8 + 0.2 * (i - 40) as f32 });
        let found = chosen(LrRange { lr: 1.0, losses: losses.collect(), rates: rates.clone() });
        assert!(found.lr > SHARE * rates[38] && found.lr < SHARE * rates[46], "{}", found.lr);
        assert_eq!(chosen(LrRange { lr: 1e-4, ..LrRange::default() }).lr, 1e-4);
    }

    #[test]
    fn a_rate_is_a_number_or_auto() {
        for (text, rate) in [("auto", Rate::Auto), ("6e-2", Rate::At(0.06)), ("1", Rate::At(1.0))] {
            assert_eq!(text.parse::<Rate>(), Ok(rate));
            assert_eq!(Rate::try_from(toml::Value::from(rate)), Ok(rate));
        }
        assert!("fast".parse::<Rate>().is_err());
        assert!(Rate::try_from(toml::Value::from("6e-2")).is_err());
        assert_eq!(Rate::try_from(toml::Value::from(2)), Ok(Rate::At(2.0)));
    }
}
