//! The file of a sweep.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{Error, Result};

/// A sweep that comes with the program.
pub struct Shipped {
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal)*) => {
        /// In the order of the paper.
        pub static SHIPPED: &[Shipped] =
            &[$(Shipped { name: $name, text: include_str!(concat!("shipped/", $name, ".toml")) },)*];
    };
}

shipped!("table1" "table2" "table4" "figure4" "figure5" "small");

/// What to run: every task with every method, every value of `vary`, and every seed.
///
/// Settings have the names of the long flags. Later ones win: preset, `settings`, the task's, the method's, `vary`,
/// `choose`, `retrain`, `overrides`, and the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sweep {
    /// Heading of the results.
    pub title: String,
    /// Presets, each a task; the data lies below the sweep's `data`.
    #[serde(default)]
    pub presets: Vec<String>,
    /// Random seeds; none: that of the settings.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Names of training methods, or tables with a name and settings.
    pub methods: Vec<Method>,
    /// Settings of all runs.
    #[serde(default)]
    pub settings: Table,
    /// Settings with lists of values: a column of the results for each combination.
    #[serde(default)]
    pub vary: Table,
    /// Settings with lists of values, of which the best on validation is taken, for each task and column. It is
    /// found with the first seed.
    #[serde(default)]
    pub choose: Table,
    /// Further settings of the runs after the choice.
    #[serde(default)]
    pub retrain: Table,
    /// Settings that win over all others.
    #[serde(default)]
    pub overrides: Table,
    /// Tasks beside the presets.
    #[serde(default)]
    pub tasks: Vec<Task>,
    #[serde(default)]
    pub published: Option<Published>,
}

/// A task: some data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub name: String,
    /// Tasks of a group are averaged first, then the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(flatten)]
    pub settings: Table,
}

/// A way to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "NameOrMethod")]
pub struct Method {
    pub name: String,
    /// As of the sweep, which it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choose: Option<Table>,
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
        #[serde(flatten)]
        settings: Table,
    },
}

impl From<NameOrMethod> for Method {
    fn from(given: NameOrMethod) -> Self {
        match given {
            NameOrMethod::Name(name) => {
                let settings = Table::from_iter([("method".to_string(), Value::from(name.clone()))]);
                Method { name, choose: None, settings }
            }
            NameOrMethod::Method { name, choose, settings } => Method { name, choose, settings },
        }
    }
}

/// Numbers to show beside the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Published {
    /// Where they stand.
    pub source: String,
    /// By column, then by task, group or `mean`, in percent.
    pub values: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Sweep {
    /// Reads a sweep's file, or takes a shipped one by its name.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, or has unknown keys.
    pub fn open(name: &Path) -> Result<Self> {
        if let Some(shipped) = SHIPPED.iter().find(|shipped| Path::new(shipped.name) == name) {
            return Self::parse(name, shipped.text);
        }
        let text = std::fs::read_to_string(name).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let what = "is neither a file nor the name of a sweep of the program";
                Error::path(name, what, "check the path, or see `svp-sweep list`")
            }
            _ => Error::io(name, "read the sweep", &e),
        })?;
        Self::parse(name, &text)
    }

    /// Reads a sweep from the text of the file `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let what = e.message().replace('\n', " ");
            let hint = "see `svp-sweep show table1` for an example";
            Error::input(format!("{}, line {line}", path.display()), what, hint)
        })
    }

    /// As it is kept beside its runs.
    pub fn text(&self) -> String {
        toml::to_string(self).expect("plain values make valid TOML")
    }

    /// The sweep without what may differ between machines: where data and backbone lie.
    pub fn without_places(&self) -> Self {
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
