//! The report of a finished run.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::Device;
use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::evaluate::Evaluation;
use super::preset::Override;
use super::setup::Feeds;
use super::state::Position;
use super::trained::Trained;
use crate::checkpoint::write_atomically;
use crate::data::NoiseForm;
use crate::model::{Model, ParameterCount, count_parameters};
use crate::report::read_file;
use crate::score::{self, Score};
use crate::{Error, Result};

/// Images and time of the training steps that this process made.
#[derive(Default, Clone, Copy)]
pub(super) struct Throughput {
    pub images: u64,
    pub busy: Duration,
    pub waited: Duration,
}

/// The contents of `report.json`. Times and speeds are those of the process that finished the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Folder of the run, which the file does not name, as it lies in it.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Name of the method.
    pub method: Cow<'static, str>,
    /// Name of the preset that the run began from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Settings in which the run differs from its preset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preset_overrides: Vec<Override>,
    /// Where the data set lies.
    pub data: String,
    /// Number of classes.
    pub classes: usize,
    /// Epochs trained.
    pub epochs: u32,
    /// Epochs without a better score that ended the run early; `None` where it had all of its epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_patience: Option<u32>,
    /// Steps made, those before a resume included.
    pub steps: u64,
    /// The chosen epoch, counted from 1.
    pub best_epoch: u32,
    /// Split that chose the epoch: `val`, or `test` where that was asked for; `last epoch` where none chose.
    pub selected_on: Cow<'static, str>,
    /// Score of the chosen epoch on that split.
    #[serde(flatten, with = "score::selected")]
    pub selected: Option<Score>,
    /// Score of the last epoch on that split.
    #[serde(flatten, with = "score::last")]
    pub last: Option<Score>,
    /// The single test of the chosen epoch; `None` without a test split, or where the test split chose.
    pub test: Option<Evaluation>,
    /// What the chosen epoch makes of the test split with noise, for each rate that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noisy: Vec<Noisy>,
    /// Parameters by group, all and trained.
    pub parameters: Vec<ParameterCount>,
    /// Number of trained values.
    pub trained_parameters: usize,
    /// Training images per second.
    pub images_per_s: f64,
    /// Share of the step time that was spent waiting for data, in 0..=1.
    pub wait_share: f64,
    /// Seconds from the start of the session to the report.
    pub seconds: f64,
    /// Peak bytes held by tensors, without the backbone's file in memory.
    pub peak_tensor_bytes: usize,
    /// Hash of the backbone's weights (see [`crate::checkpoint::hash_tensors`]).
    pub backbone_hash: String,
    /// The reasons why images could not be read, one for each image.
    pub broken_images: Vec<String>,
}

/// A test with noise on the pictures. Accuracies are shares in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noisy {
    /// Rate of the noise, 0 to 1.
    pub rate: f64,
    /// How it enters the pictures.
    pub form: NoiseForm,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Share of the images whose class has the largest logit.
    pub top1: f64,
    /// Share of the images whose class is among the five largest logits.
    pub top5: f64,
}

impl Outcome {
    pub(super) fn new(
        config: &TrainConfig,
        model: &Model,
        trained: &Trained,
        position: &Position,
        feeds: &Feeds,
        test: Option<Evaluation>,
        throughput: Throughput,
        began: Instant,
        device: &Device,
    ) -> Self {
        let parameters = count_parameters(&model.params);
        let best = position.best.expect("a finished run has chosen an epoch");
        let busy = throughput.busy.as_secs_f64().max(1e-9);
        Outcome {
            folder: PathBuf::new(),
            method: config.method.entry.name.into(),
            preset: config.preset.clone(),
            preset_overrides: config.preset_overrides(),
            data: config.data.display().to_string(),
            classes: trained.classes.len(),
            epochs: position.epoch,
            out_of_patience: (position.epoch < config.epochs).then_some(config.patience),
            steps: position.step,
            best_epoch: best.epoch,
            selected_on: config.selects_on().unwrap_or("last epoch").into(),
            selected: best.score,
            last: None,
            test,
            noisy: vec![],
            trained_parameters: parameters.iter().map(|p| p.trained).sum(),
            parameters,
            images_per_s: throughput.images as f64 / busy,
            wait_share: (throughput.waited.as_secs_f64() / busy).min(1.0),
            seconds: began.elapsed().as_secs_f64(),
            peak_tensor_bytes: device.memory().0,
            backbone_hash: trained.backbone_hash.clone(),
            broken_images: feeds.broken(),
        }
    }

    /// The run's headline score: that of the test, or without a test that of the split that chose.
    pub fn score(&self) -> Option<Score> {
        let measure = self.selected.map(|score| score.measure).unwrap_or_default();
        self.test.as_ref().map(|test| test.score(measure)).or(self.selected)
    }

    /// Reads the report of a run folder; `None` while the run is not finished.
    ///
    /// A file that cannot be read, or that is not a report.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join("report.json");
        let Some(text) = read_file(&path)? else { return Ok(None) };
        let damaged = |e| Error::path(&path, format!("is not a run's report: {e}"), "remove the file");
        let outcome: Outcome = serde_json::from_slice(&text).map_err(damaged)?;
        Ok(Some(Outcome { folder: run.into(), ..outcome }))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()))
    }
}
