//! A run's state on disk: `best` holds the trained tensors, `last` adds what resuming needs.

use std::collections::BTreeMap;
use std::path::Path;

use engine::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::average::Average;
use super::optim::Optimizer;
use super::trained::Trained;
use crate::checkpoint::{Checkpoint, save_safetensors};
use crate::params::{ByName, Params, check_shape};
use crate::score::{self, Score};
use crate::{Error, Result};

/// How far a run has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// The epoch under way, counted from 0.
    pub epoch: u32,
    /// Steps of that epoch that are done.
    pub batch: usize,
    /// Sum of the losses of those steps, as the bits of an f64, because JSON could round it.
    pub loss_sum_bits: u64,
    /// The epoch chosen so far; `None` before the first epoch is done.
    pub best: Option<Best>,
}

/// The epoch chosen so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Number of the epoch, counted from 1.
    pub epoch: u32,
    /// Its score on the split that selects; `None` where the last epoch is kept.
    #[serde(flatten, with = "score::plain")]
    pub score: Option<Score>,
}

impl Position {
    /// Sum of the losses of the epoch under way.
    pub fn loss_sum(&self) -> f64 {
        f64::from_bits(self.loss_sum_bits)
    }

    /// Whether the epoch that was finished last has a better score than those before it.
    pub(super) fn improved(&self) -> bool {
        self.epoch > 1 && self.best.is_some_and(|best| best.epoch == self.epoch && best.score.is_some())
    }

    /// Adds the loss of a step to the sum.
    pub fn add_loss(&mut self, loss: f32) {
        self.loss_sum_bits = (self.loss_sum() + f64::from(loss)).to_bits();
    }
}

const MODEL: &str = "svp.model";
const POSITION: &str = "svp.position";
const DATA: &str = "svp.data";
const AVERAGE: &str = "ema.";

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data")
}

fn saved_tensors(params: &Params) -> Vec<(String, &Tensor)> {
    params.iter().filter(|p| p.saved).map(|p| (p.name.clone(), &p.value)).collect()
}

/// Writes the trained tensors; the file is written whole or not at all.
pub(super) fn save_best(path: &Path, params: &Params, trained: &Trained, position: &Position) -> Result<()> {
    save_safetensors(path, &saved_tensors(params), &description(trained, position))
}

/// Writes the averages in place of the trained tensors, as a trained file like any other.
pub(super) fn save_average(
    path: &Path,
    params: &Params,
    average: &Average,
    trained: &Trained,
    position: &Position,
) -> Result<()> {
    let mut tensors = saved_tensors(params);
    let mut averages: BTreeMap<&str, &Tensor> = average.state(params).collect();
    tensors.iter_mut().for_each(|(name, value)| *value = averages.remove(&**name).unwrap_or(value));
    save_safetensors(path, &tensors, &description(trained, position))
}

fn description(trained: &Trained, position: &Position) -> BTreeMap<String, String> {
    let own = [(MODEL.to_string(), json(trained)), (POSITION.to_string(), json(position))];
    // The file of a whole backbone is read as a checkpoint too, which needs the facts about it.
    trained.facts.clone().into_iter().chain(own).collect()
}

/// The contents of `last`.
pub(super) struct Saveable<'a> {
    pub params: &'a Params,
    pub optimizer: &'a Optimizer,
    pub average: Option<&'a Average>,
    pub trained: &'a Trained,
    pub position: &'a Position,
    /// The data set's fingerprint.
    pub data: &'a str,
}

/// Writes the trained tensors, the optimiser's and the averages; the file is written whole or not at all.
pub(super) fn save_last(path: &Path, state: Saveable) -> Result<()> {
    let mut tensors = saved_tensors(state.params);
    tensors.extend(state.optimizer.state(state.params));
    for (name, value) in state.average.into_iter().flat_map(|average| average.state(state.params)) {
        tensors.push((format!("{AVERAGE}{name}"), value));
    }
    let mut metadata = description(state.trained, state.position);
    metadata.insert(DATA.into(), state.data.into());
    save_safetensors(path, &tensors, &metadata)
}

/// Refuses a file of a run as a backbone, except the trained file of one that trained the whole backbone.
pub(super) fn check_backbone(file: &Checkpoint) -> Result<()> {
    let Some(description) = file.metadata().get(MODEL) else { return Ok(()) };
    let trained = serde_json::from_str::<Trained>(description);
    let whole = trained.is_ok_and(|trained| trained.method.entry.whole_backbone);
    let (what, hint) = match (whole, file.metadata().contains_key(DATA)) {
        (true, false) => return Ok(()),
        (true, true) => {
            ("is the state of a run of svp-train, with its optimizer", "give best.safetensors of that run")
        }
        (false, _) => (
            "is of a run of svp-train, not a backbone",
            "use it with svp-eval or svp-predict, or make it a backbone with svp-convert --merge first",
        ),
    };
    Err(Error::path(file.path(), what, hint))
}

/// An open trained file.
pub struct TrainedFile {
    file: Checkpoint,
    /// The description of the trained model.
    pub trained: Trained,
    /// How far the run had come.
    pub position: Position,
}

impl TrainedFile {
    /// Opens a trained file and reads its description; the tensors are not read yet.
    ///
    /// # Errors
    /// A file that cannot be read, or that this program did not write.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Checkpoint::open(path)?;
        let read = |key: &str| {
            let hint = "give a file that svp-train wrote (best.safetensors of a run folder)";
            file.metadata().get(key).ok_or_else(|| Error::path(path, format!("has no entry {key}"), hint))
        };
        let bad = |e: serde_json::Error| {
            Error::path(path, format!("its description is damaged: {e}"), "train again")
        };
        let trained = serde_json::from_str(read(MODEL)?).map_err(bad)?;
        let position = serde_json::from_str(read(POSITION)?).map_err(bad)?;
        Ok(TrainedFile { file, trained, position })
    }

    /// Shapes of its tensors.
    pub(super) fn shapes(&self) -> ByName {
        self.file.entries().iter().map(|(name, entry)| (name.clone(), entry.shape().to_vec())).collect()
    }

    /// The fingerprint of the data that the run began with; only `last` has it.
    pub fn data(&self) -> Option<&str> {
        self.file.metadata().get(DATA).map(String::as_str)
    }

    /// Puts the saved tensors into `params`, on `device`.
    ///
    /// # Errors
    /// A saved parameter that the file lacks or holds in another shape.
    pub fn restore(&self, device: &Device, params: &mut Params) -> Result<()> {
        self.restore_parts(device, params, |_| true)
    }

    /// Checks that the file holds all saved tensors of `params`.
    ///
    /// # Errors
    /// Those of [`TrainedFile::restore`].
    pub(super) fn check(&self, params: &Params) -> Result<()> {
        let holds = |id| self.tensor(params.name(id), params.get(id).shape()).map(drop);
        params.saved().into_iter().try_for_each(holds)
    }

    /// Puts the saved tensors of those parts of the model into `params` that are `wanted`, by their names.
    ///
    /// # Errors
    /// Those of [`TrainedFile::restore`].
    pub(super) fn restore_parts(
        &self,
        device: &Device,
        params: &mut Params,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        for id in params.saved().into_iter().filter(|&id| wanted(params.part(id))).collect::<Vec<_>>() {
            let shape = params.get(id).shape().to_vec();
            let value = self.tensor(params.name(id), &shape)?;
            params.set(id, value.to_device(device)?);
        }
        Ok(())
    }

    /// Puts the optimiser's state back.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn restore_optimizer(
        &self,
        device: &Device,
        params: &Params,
        optimizer: &mut Optimizer,
    ) -> Result<()> {
        optimizer.restore(params, self.position.step, |name, shape| {
            Ok(self.tensor(name, shape)?.to_owned_on(device))
        })
    }

    /// Puts the averages back.
    ///
    /// # Errors
    /// An average that is missing or of another shape.
    pub fn restore_average(&self, device: &Device, params: &Params, average: &mut Average) -> Result<()> {
        average.restore(params, |name, shape| {
            Ok(self.tensor(&format!("{AVERAGE}{name}"), shape)?.to_owned_on(device))
        })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.file.tensor(name)?;
        check_shape(self.file.path(), name, tensor.shape(), shape)?;
        Ok(tensor)
    }
}
