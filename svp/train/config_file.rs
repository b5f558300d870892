//! The config in a run's folder.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::config::TrainConfig;
use super::setup::weights_in;
use crate::checkpoint::write_atomically;
use crate::methods::{Chosen, setting_names};
use crate::report::RunDir;
use crate::{Error, Result};

/// Reads the `config.toml` of a run folder, written by this or an earlier version.
///
/// A file that cannot be read, or that is not a run's config.
pub fn read_config(path: &Path) -> Result<TrainConfig> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the config", &e))?;
    let table: std::result::Result<Table, _> = toml::from_str(&text);
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

/// What changes in a run that goes on: new places of its inputs, and the rate; `None` keeps what the config says.
#[derive(Default)]
pub struct Moved {
    /// The data set.
    pub data: Option<PathBuf>,
    /// The backbone's checkpoint.
    pub backbone: Option<PathBuf>,
    /// Another learning rate, for what is left of the run.
    pub lr: Option<f64>,
}

impl Moved {
    pub(super) fn apply(self, config: &TrainConfig) -> TrainConfig {
        let mut config = config.clone();
        config.data = self.data.unwrap_or(config.data);
        if let Some(backbone) = self.backbone {
            config.weights = weights_in(&backbone, config.weights);
            config.backbone = Some(backbone);
        }
        config.lr = self.lr.unwrap_or(config.lr);
        config
    }
}
