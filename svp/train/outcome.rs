//! What a finished run reports.

use std::borrow::Cow;
use std::path::Path;
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
use crate::model::{Model, ParameterCount, count_parameters};
use crate::score::{self, Score};
use crate::{Error, Result};

/// Time of this process's training steps.
#[derive(Default, Clone, Copy)]
pub(super) struct Throughput {
    pub images: u64,
    pub busy: Duration,
    pub waited: Duration,
}

/// The report of a run (`report.json`). Times and speeds are of the process that finished it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub method: Cow<'static, str>,
    /// The settings that the run began from, and those that a flag or a config file replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preset_overrides: Vec<Override>,
    pub data: String,
    pub classes: usize,
    pub epochs: u32,
    pub steps: u64,
    /// From 1.
    pub best_epoch: u32,
    /// Split that chose the epoch: `val`, or `test` where that was asked for; `last epoch` where none did.
    pub selected_on: Cow<'static, str>,
    /// On that split.
    #[serde(flatten, with = "score::selected")]
    pub selected: Option<Score>,
    /// On the split that chooses, after the last epoch.
    #[serde(flatten, with = "score::last")]
    pub last: Option<Score>,
    /// The one test of the chosen epoch; absent without a test split, or when it chose.
    pub test: Option<Evaluation>,
    pub parameters: Vec<ParameterCount>,
    pub trained_parameters: usize,
    pub images_per_s: f64,
    /// Share of the step time spent waiting for data.
    pub wait_share: f64,
    pub seconds: f64,
    /// Most memory held by tensors at once, backbone file excluded.
    pub peak_tensor_bytes: usize,
    pub backbone_hash: String,
    /// Images that could not be read, with the reason.
    pub broken_images: Vec<String>,
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
            method: config.method.entry.name.into(),
            preset: config.preset.clone(),
            preset_overrides: config.preset_overrides(),
            data: config.data.display().to_string(),
            classes: trained.classes.len(),
            epochs: config.epochs,
            steps: position.step,
            best_epoch: best.epoch,
            selected_on: config.selects_on().unwrap_or("last epoch").into(),
            selected: best.score,
            last: None,
            test,
            trained_parameters: parameters.iter().map(|p| p.trained).sum(),
            parameters,
            images_per_s: throughput.images as f64 / busy,
            wait_share: throughput.waited.as_secs_f64() / busy,
            seconds: began.elapsed().as_secs_f64(),
            peak_tensor_bytes: device.memory().0,
            backbone_hash: trained.backbone_hash.clone(),
            broken_images: feeds.broken(),
        }
    }

    /// What the run reports: of the test where there is one, else of the split that chose.
    pub fn score(&self) -> Option<Score> {
        let measure = self.selected.map(|score| score.measure).unwrap_or_default();
        self.test.as_ref().map(|test| test.score(measure)).or(self.selected)
    }

    /// The report in a run folder; `None` while the run is not finished.
    ///
    /// # Errors
    /// A file that cannot be read, or is no report.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join("report.json");
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| Error::io(&path, "read the report", &e))?,
        };
        let damaged = |e| Error::path(&path, format!("is not a run's report: {e}"), "remove the file");
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()))
    }
}
