//! A run's state on disk: `best` with the trained tensors, `last` with what resuming needs beside them.

use std::collections::BTreeMap;
use std::path::Path;

use engine::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::average::Average;
use super::optim::Optimizer;
use super::trained::Trained;
use crate::checkpoint::{Checkpoint, save_safetensors};
use crate::params::Params;
use crate::score::{self, Score};
use crate::{Error, Result};

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    pub step: u64,
    /// Epoch under way, from 0, and the batches of it that are done.
    pub epoch: u32,
    pub batch: usize,
    /// Sum of the losses of those batches, as bits: JSON must not round it.
    pub loss_sum_bits: u64,
    pub best: Option<Best>,
}

/// The epoch chosen so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// From 1.
    pub epoch: u32,
    /// On the split that selects; `None`: the last epoch is kept.
    #[serde(flatten, with = "score::plain")]
    pub score: Option<Score>,
}

impl Position {
    pub fn loss_sum(&self) -> f64 {
        f64::from_bits(self.loss_sum_bits)
    }

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

fn trained_tensors(params: &Params) -> Vec<(String, &Tensor)> {
    params.iter().filter(|p| p.trained).map(|p| (p.name.clone(), &p.value)).collect()
}

/// Writes the trained tensors, whole or not at all.
pub(super) fn save_best(path: &Path, params: &Params, trained: &Trained, position: &Position) -> Result<()> {
    save_safetensors(path, &trained_tensors(params), &description(trained, position))
}

/// Writes the averages in place of the trained tensors: a trained file like any other.
pub(super) fn save_average(
    path: &Path,
    params: &Params,
    average: &Average,
    trained: &Trained,
    position: &Position,
) -> Result<()> {
    let tensors: Vec<_> = average.state(params).map(|(name, value)| (name.to_string(), value)).collect();
    save_safetensors(path, &tensors, &description(trained, position))
}

fn description(trained: &Trained, position: &Position) -> BTreeMap<String, String> {
    BTreeMap::from([(MODEL.to_string(), json(trained)), (POSITION.to_string(), json(position))])
}

/// What `last` holds.
pub(super) struct Saveable<'a> {
    pub params: &'a Params,
    pub optimizer: &'a Optimizer,
    pub average: Option<&'a Average>,
    pub trained: &'a Trained,
    pub position: &'a Position,
    /// The data set's fingerprint.
    pub data: &'a str,
}

/// Writes the trained tensors, the optimizer's and the averages, whole or not at all.
pub(super) fn save_last(path: &Path, state: Saveable) -> Result<()> {
    let mut tensors = trained_tensors(state.params);
    tensors.extend(state.optimizer.state(state.params));
    for (name, value) in state.average.into_iter().flat_map(|average| average.state(state.params)) {
        tensors.push((format!("{AVERAGE}{name}"), value));
    }
    let mut metadata = description(state.trained, state.position);
    metadata.insert(DATA.into(), state.data.into());
    save_safetensors(path, &tensors, &metadata)
}

/// A trained file, opened.
pub struct TrainedFile {
    file: Checkpoint,
    pub trained: Trained,
    pub position: Position,
}

impl TrainedFile {
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

    /// Puts the trained tensors into `params`, on `device`; its trained parameters must be the same.
    pub fn restore(&self, device: &Device, params: &mut Params) -> Result<()> {
        for id in params.trained() {
            let shape = params.get(id).shape().to_vec();
            let value = self.tensor(params.name(id), &shape)?;
            params.set(id, value.to_device(device)?);
        }
        Ok(())
    }

    /// Puts the optimizer's state back. `data` must be the fingerprint of the data the run began with.
    pub fn restore_optimizer(
        &self,
        device: &Device,
        params: &Params,
        optimizer: &mut Optimizer,
        data: &str,
    ) -> Result<()> {
        if self.file.metadata().get(DATA).is_none_or(|stored| stored != data) {
            let what = "the data set is not the one the run began with";
            return Err(Error::path(self.file.path(), what, "put the data back, or start a new run"));
        }
        optimizer.restore(params, self.position.step, |name, shape| {
            Ok(self.tensor(name, shape)?.to_owned_on(device))
        })
    }

    /// Puts the averages back.
    pub fn restore_average(&self, device: &Device, params: &Params, average: &mut Average) -> Result<()> {
        average.restore(params, |name, shape| {
            Ok(self.tensor(&format!("{AVERAGE}{name}"), shape)?.to_owned_on(device))
        })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.file.tensor(name)?;
        if tensor.shape() == shape {
            return Ok(tensor);
        }
        let what = format!("{name} has shape {:?}, the model {shape:?}", tensor.shape());
        Err(Error::path(self.file.path(), what, "the file belongs to another backbone or setting"))
    }
}
