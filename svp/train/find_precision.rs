//! `--precision auto`: bf16 where the hardware multiplies it and the model stays what it is.

use std::sync::Arc;

use engine::Device;

use super::config::{Precision, TrainConfig};
use super::evaluate::softmax;
use super::feed::Feed;
use super::setup;
use crate::Result;
use crate::data::{Dataset, LoaderOptions};
use crate::methods::{Chosen, linear};

/// How far the features of bf16 may lie from those of f32, as a share of their length. Every block rounds its activations
/// to 8 bits a few times, an error of 2^-9 each; the features of Vim-S and ViT-B are 1 % apart, and those of a model whose
/// activations bf16 cannot hold are of another kind.
const FEATURES_APART: f64 = 0.05;

/// How far the loss of bf16 may lie from that of f32, as a share of it.
const LOSS_APART: f64 = 0.03;

/// The precision that `--precision auto` takes, and in one line why.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundPrecision {
    /// f32 or bf16.
    pub precision: Precision,
    /// The reason.
    pub why: String,
}

/// bf16, if the hardware of `device` multiplies bf16 and features and loss of one batch of training images agree with those
/// of f32; else f32. The model is made as it is before its first step.
///
/// # Errors
/// Those of loading model and data, images that cannot be read, and faults of the device.
pub fn find_precision(config: &TrainConfig, device: &Device) -> Result<FoundPrecision> {
    config.check()?;
    if !multiplies_bf16(device) {
        let why = format!("the {} device has no instructions for products of bf16", device.name());
        return Ok(FoundPrecision { precision: Precision::F32, why });
    }
    let data = setup::dataset(config)?;
    let single = Seen::new(config, Precision::F32, device, &data)?;
    let half = Seen::new(config, Precision::Bf16, device, &data)?;
    let (features, loss) = (single.features_apart(&half), (half.loss - single.loss).abs() / single.loss);
    // A distance that is no number is no agreement.
    let agree = features <= FEATURES_APART && loss <= LOSS_APART;
    let why = format!(
        "on one batch its features are {:.1} % and its loss {:.1} % from those of f32",
        100.0 * features,
        100.0 * loss
    );
    Ok(FoundPrecision { precision: if agree { Precision::Bf16 } else { Precision::F32 }, why })
}

/// Whether the device multiplies bf16 faster than f32.
fn multiplies_bf16(device: &Device) -> bool {
    match device {
        Device::Cpu(_) => engine::simd::bf16_products(),
        Device::Launched(_) => device.name() == "cuda",
    }
}

/// What a model makes of one batch.
struct Seen {
    features: Vec<f32>,
    /// Mean cross-entropy in nats.
    loss: f64,
}

impl Seen {
    fn new(config: &TrainConfig, precision: Precision, device: &Device, data: &Dataset) -> Result<Self> {
        let mut config = TrainConfig { precision, ..config.clone() };
        if config.method.entry.survey.is_some() {
            // What a survey finds is not known yet, so the backbone is seen by itself.
            config.method = Chosen::named(linear::ENTRY.name)?;
        }
        let (model, _) = setup::model(&config, device, setup::backbone(&config)?, &data.classes)?;
        // Of every class, where images stand class by class.
        let apart = (data.train.len() / config.batch_size).max(1);
        let images: Vec<_> = data.train.iter().step_by(apart).take(config.batch_size).cloned().collect();
        let options = LoaderOptions::eval(config.batch_size, config.workers);
        let feed = Feed::images(&Arc::new(images), model.transform(), options)?;
        let batch = feed.epoch(0, 0).next().expect("a data set has images")?;
        let features = model.features(batch.input.clone())?.to_host()?;
        let logits = model.logits(batch.input)?.to_host()?;
        let rows = logits.chunks_exact(model.classes()).zip(batch.labels.classes());
        let losses: Vec<f64> = rows.map(|(logits, &label)| -softmax(logits)[label as usize].ln()).collect();
        Ok(Seen { features, loss: losses.iter().sum::<f64>() / losses.len() as f64 })
    }

    /// The distance of the features as a share of their length.
    fn features_apart(&self, other: &Seen) -> f64 {
        let square =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
        let apart = square(&mut self.features.iter().zip(&other.features).map(|(a, b)| a - b));
        (apart / square(&mut self.features.iter().copied())).sqrt()
    }
}
