//! The file that says what a sweep runs.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::data::text::read_settings;
use crate::{Error, Result, toml_text};

/// A sweep that comes with the program.
pub struct Shipped {
    /// The name by which it is run.
    pub name: &'static str,
    /// Another name, of a table that prints the same results otherwise.
    pub also: Option<&'static str>,
    /// The text of its file.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal $(or $also:literal)?)*) => {
        /// The sweeps that come with the program, in the order of the papers.
        pub static SHIPPED: &[Shipped] = &[$(Shipped {
            name: $name,
            also: [$(Some($also),)? None][0],
            text: include_str!(concat!("shipped/", $name, ".toml")),
        },)*];
    };
}

shipped!(
    "table1" "table2" "table3" "table4" "figure4" "figure5"
    "ivpt-table1" "ivpt-table2" or "ivpt-table10" "ivpt-table3" or "ivpt-table11" "ivpt-table4" or "ivpt-table12"
    "ivpt-table5" or "ivpt-table13" "ivpt-table6" or "ivpt-table14" "ivpt-table9"
    "ivpt-figure4" "ivpt-figure5-n" "ivpt-figure5-k" "ivpt-figure6"
    "small"
);

impl Shipped {
    /// The sweep of this name.
    pub fn named(name: &str) -> Option<&'static Shipped> {
        SHIPPED.iter().find(|shipped| shipped.name == name || shipped.also == Some(name))
    }
}

/// What to run: every task with every method, every value of `vary`, and every seed.
///
/// Settings have the names of the long flags of `svp-train`. Later ones win: the presets of the task and of the method,
/// which are used together, `settings`, the task's, the method's, `vary`, `choose`, `retrain`, `overrides`, and the
/// seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sweep {
    /// Heading of the results.
    pub title: String,
    /// Presets, each of which is a task; their data are below the `data` of `settings`.
    #[serde(default)]
    pub presets: Vec<String>,
    /// Random seeds; if there are none, the seed of the settings.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Names of training methods, or tables with a name and settings.
    pub methods: Vec<Method>,
    /// Settings of all runs.
    #[serde(default)]
    pub settings: Table,
    /// Settings with lists of values; each combination makes a column of the results.
    #[serde(default)]
    pub vary: Table,
    /// Hyper-parameters with lists of values; for each task and column the best combination on validation is chosen
    /// with the first seed.
    #[serde(default)]
    pub choose: Table,
    /// Further settings of the runs that are reported after the choice.
    #[serde(default)]
    pub retrain: Table,
    /// Settings that win over all others.
    #[serde(default)]
    pub overrides: Table,
    /// Tasks beside the presets.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// Published accuracies, to show beside the results.
    #[serde(default)]
    pub published: Option<Published>,
}

/// A task: data to train and test on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its name in the results and the folders.
    pub name: String,
    /// The group that it is averaged with, before the groups are averaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Settings of its runs.
    #[serde(flatten)]
    pub settings: Table,
}

/// A way to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "NameOrMethod")]
pub struct Method {
    /// Its name in the results and the folders.
    pub name: String,
    /// Hyper-parameters with lists of values, in place of those of the sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choose: Option<Table>,
    /// Random seeds, in place of those of the sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<u64>>,
    /// Settings of its runs.
    #[serde(flatten)]
    pub settings: Table,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NameOrMethod {
    Name(String),
    Method {
        name: String,
        #[serde(default)]
        choose: Option<Table>,
        #[serde(default)]
        seeds: Option<Vec<u64>>,
        #[serde(flatten)]
        settings: Table,
    },
}

impl From<NameOrMethod> for Method {
    fn from(given: NameOrMethod) -> Self {
        match given {
            NameOrMethod::Name(name) => {
                let settings = Table::from_iter([("method".to_string(), Value::from(name.clone()))]);
                Method { name, choose: None, seeds: None, settings }
            }
            NameOrMethod::Method { name, choose, seeds, settings } => {
                Method { name, choose, seeds, settings }
            }
        }
    }
}

/// Published accuracies, to show beside the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Published {
    /// Where they were published.
    pub source: String,
    /// Name of a table that comes with the program ([`published::names`](super::published::names)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Accuracies in percent by column, then by task, group or `mean`. They win over those of the table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Sweep {
    /// Reads the file of a sweep, or takes one that comes with the program by its name.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML or has unknown keys.
    pub fn open(name: &Path) -> Result<Self> {
        if let Some(shipped) = name.to_str().and_then(Shipped::named) {
            return Self::parse(name, shipped.text);
        }
        let text = read_settings(name).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let what = "is neither a file nor the name of a sweep of the program";
                Error::path(name, what, "check the path, or see `svp-sweep list`")
            }
            _ => Error::io(name, "read the sweep", &e),
        })?;
        Self::parse(name, &text)
    }

    /// Reads a sweep from the text of the file `path`.
    ///
    /// # Errors
    /// Text that is no TOML or has unknown keys; names the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        toml_text::parse(path, text, "see `svp-sweep show table1` for an example")
    }

    /// The seeds of a method's runs.
    pub fn seeds_of<'a>(&'a self, method: &'a Method) -> &'a [u64] {
        method.seeds.as_deref().unwrap_or(&self.seeds)
    }

    /// The text of its file, as it is kept beside its runs.
    pub fn text(&self) -> String {
        toml::to_string(self).expect("plain values make valid TOML")
    }

    /// The sweep without the paths of data and backbone, which may differ between machines.
    pub fn without_paths(&self) -> Self {
        let mut sweep = self.clone();
        let tasks = sweep.tasks.iter_mut().map(|task| &mut task.settings);
        let methods = sweep.methods.iter_mut().map(|method| &mut method.settings);
        for settings in tasks.chain(methods).chain([&mut sweep.settings, &mut sweep.overrides]) {
            settings.remove("data");
            settings.remove("backbone");
        }
        sweep
    }
}
