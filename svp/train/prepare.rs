//! Model and data of a config, loaded before anything is written.

use engine::Device;

use super::config::TrainConfig;
use super::setup;
use super::trained::Trained;
use crate::Result;
use crate::data::Dataset;
use crate::model::Model;

/// Model and data of a config.
pub struct Prepared {
    /// The backbone with method and head.
    pub model: Model,
    /// The description that its trained file will carry.
    pub trained: Trained,
    /// The data set.
    pub data: Dataset,
    /// Facts for the log, one line each.
    pub notes: Vec<String>,
}

/// Loads the backbone and opens the data.
///
/// Settings that cannot work or do not fit the backbone, the data or the device; files that cannot be read.
pub fn prepare(config: &TrainConfig, device: &Device) -> Result<Prepared> {
    config.check()?;
    config.precision.check(device)?;
    let mut loaded = setup::backbone(config)?;
    let data = setup::dataset(config)?;
    setup::check_data(config, &data)?;
    let mut notes = std::mem::take(&mut loaded.notes);
    notes.extend(data.notes.iter().cloned());
    let (model, trained) = setup::model(config, device, loaded, &data.classes)?;
    Ok(Prepared { model, trained, data, notes })
}
