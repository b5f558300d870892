//! The config in a run's folder.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::config::TrainConfig;
use super::lr_range::Rate;
use super::setup::weights_in;
use super::state::Position;
use crate::checkpoint::write_atomically;
use crate::data::mapped;
use crate::methods::{Chosen, setting_names};
use crate::report::RunDir;
use crate::{Error, Result};

/// Reads the `config.toml` of a run folder, written by this or an earlier version.
///
/// A file that cannot be read, or that is not a run's config.
pub fn read_config(path: &Path) -> Result<TrainConfig> {
    let table: std::result::Result<Table, _> = toml::from_slice(&mapped::map(path)?);
    table.and_then(|table| migrated(table).try_into()).map_err(|e| {
        let what = format!("is not a run's config: {}", e.message().replace('\n', " "));
        Error::path(path, what, "start a new run with another --out")
    })
}

pub(super) fn write_config(run: &RunDir, config: &TrainConfig) -> Result<()> {
    let text = toml::to_string(config).expect("plain values make valid TOML");
    write_atomically(&run.config(), |file| std::io::Write::write_all(file, text.as_bytes()))
}

/// Brings a config to this version's form. The first version mixed SVP's settings with those of the run, whatever the
/// method, and took the row of the class token from SVP's variant.
pub(crate) fn migrated(mut table: Table) -> Table {
    if table.contains_key("class-row") {
        return table;
    }
    let official = table.get("variant").and_then(Value::as_str) == Some("official");
    table.insert("class-row".into(), if official { "first" } else { "middle" }.into());
    let method = table.get("method").and_then(Value::as_str).and_then(|name| Chosen::named(name).ok());
    let Some(method) = method else { return table };
    let mut settings = Table::new();
    for name in setting_names() {
        if let Some(value) = table.remove(name)
            && method.setting(name).is_some()
        {
            settings.insert(name.into(), value);
        }
    }
    if !settings.is_empty() {
        table.insert(method.entry.name.into(), settings.into());
    }
    table
}

/// The command that resumes a run on the same device.
pub(super) fn resuming(run: &Path, device_flag: &str) -> String {
    format!("svp-train --resume {}{device_flag}", run.display())
}

/// The first setting in which two configs differ, with its value in both; `None` where they are alike.
pub fn difference(there: &TrainConfig, wanted: &TrainConfig) -> Option<String> {
    let table = |config: &TrainConfig| Table::try_from(config).expect("plain values make valid TOML");
    let (there, wanted) = (table(there), table(wanted));
    let text = |table: &Table, key: &str| table.get(key).map_or("none".to_string(), Value::to_string);
    let mut keys = there.keys().chain(wanted.keys()).filter(|key| there.get(*key) != wanted.get(*key));
    keys.next().map(|key| format!("{key} {}, now {}", text(&there, key), text(&wanted, key)))
}

/// Checks that a run that is begun has the settings of `wanted`, but for those that change nothing of what is trained.
///
/// # Errors
/// The first setting in which they differ, and a working directory that is gone.
pub fn check_same(run: &Path, begun: &TrainConfig, wanted: &TrainConfig) -> Result<()> {
    let settings = |config: &TrainConfig| {
        TrainConfig { workers: 0, save_every: 0, ..config.clone() }.with_absolute_paths()
    };
    let Some(difference) = difference(&settings(begun)?, &settings(wanted)?) else { return Ok(()) };
    let what = format!("holds a run with other settings ({difference})");
    let hint = format!("continue that one with `--resume {}`, or choose another --out", run.display());
    Err(Error::path(run, what, hint))
}

/// What changes in a run that goes on; `None` keeps what the config says.
#[derive(Default)]
pub struct Moved {
    /// The data set.
    pub data: Option<PathBuf>,
    /// The backbone's checkpoint.
    pub backbone: Option<PathBuf>,
    /// Another learning rate, for what is left of the run.
    pub lr: Option<f64>,
    /// More epochs, which also stretch the schedule of the rate from where the run is.
    pub epochs: Option<u32>,
}

/// Checks that a run of the config `was`, which stands at `position` in the folder `run`, can be made as long as `config`
/// says. A line about it, where that is longer.
///
/// # Errors
/// Fewer epochs than it has, and a run that would end at once.
pub(super) fn lengthened(
    run: &Path,
    was: &TrainConfig,
    config: &TrainConfig,
    position: &Position,
) -> Result<Option<String>> {
    let (before, epochs, done) = (was.epochs, config.epochs, position.epoch);
    if epochs == before {
        return Ok(None);
    }
    if epochs < before {
        let what = format!("the run has {before} epochs, and {epochs} are fewer");
        return Err(Error::input("--epochs", what, "a run can only be made longer"));
    }
    if config.out_of_patience(position) {
        let patience = config.patience;
        let what = format!("the run ended after epoch {done}, as {patience} epochs had no better score");
        let hint = format!("start a new run from it with `--init-from {}`", run.display());
        return Err(Error::input("--epochs", what, hint));
    }
    let rate = match config.lr {
        Rate::Auto => String::new(),
        Rate::At(_) => {
            format!("; the schedule of {epochs} goes on at {:.3e}", config.schedule().epoch(done))
        }
    };
    Ok(Some(format!("made longer: {epochs} epochs instead of {before}, of which {done} are done{rate}")))
}

impl Moved {
    pub(super) fn apply(self, config: &TrainConfig) -> TrainConfig {
        let mut config = config.clone();
        config.data = self.data.unwrap_or(config.data);
        if let Some(backbone) = self.backbone {
            config.weights = weights_in(&backbone, config.weights);
            config.backbone = Some(backbone);
        }
        config.lr = self.lr.map_or(config.lr, Rate::At);
        config.epochs = self.epochs.unwrap_or(config.epochs);
        config
    }
}
