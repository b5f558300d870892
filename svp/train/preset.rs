//! Named settings: those published for a data set, or this project's where none are published.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::config::TrainConfig;
use crate::data::Known;
use crate::methods::setting_names;
use crate::{Error, Result, toml_text};

/// A file of presets: the settings they share in `[all]`, then one table for each.
struct Collection {
    name: &'static str,
    text: &'static str,
    published: bool,
}

static COLLECTIONS: [Collection; 2] = [
    Collection { name: "hta", text: include_str!("presets/hta.toml"), published: true },
    Collection { name: "vtab", text: include_str!("presets/vtab.toml"), published: false },
];

/// Named settings for a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Collection and data set, such as `hta/cub200`.
    pub name: String,
    /// The data set that the settings are for.
    pub dataset: &'static Known,
    /// Whether the published program used these settings; otherwise they are this project's.
    pub published: bool,
    /// Group of the task (natural, specialized or structured) in a benchmark that averages by group.
    pub group: Option<String>,
    /// Values by the names of the long flags.
    pub settings: Table,
}

/// A setting in which a run differs from its preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Override {
    /// Name of the setting, as on the command line.
    pub setting: String,
    /// The preset's value.
    pub preset: String,
    /// The run's value, or `none`.
    pub used: String,
}

impl Preset {
    /// All presets, in the order of the paper's tables.
    pub fn all() -> Vec<Preset> {
        COLLECTIONS.iter().flat_map(Collection::presets).collect()
    }

    /// Finds a preset by its name.
    ///
    /// # Errors
    /// A name that no preset has.
    pub fn named(name: &str) -> Result<Preset> {
        let known = |preset: &Preset| preset.name == name;
        Preset::all()
            .into_iter()
            .find(known)
            .ok_or_else(|| Error::input("--preset", format!("there is no {name:?}"), "see --preset list"))
    }

    /// The settings in which `config` differs from this preset.
    pub fn overrides(&self, config: &TrainConfig) -> Vec<Override> {
        let mut used = Table::try_from(config).expect("plain values make valid TOML");
        let settings = config.method.settings.all();
        // A method other than the preset's has no use for that method's settings.
        let foreign = |name: &str| setting_names().contains(&name) && !settings.contains_key(name);
        used.extend(settings.clone());
        let differs = |(name, preset): (&String, &Value)| {
            if foreign(name) {
                return None;
            }
            let (preset, used) = (text(preset), used.get(name).map_or("none".into(), text));
            (preset != used).then(|| Override { setting: name.clone(), preset, used })
        };
        self.settings.iter().filter_map(differs).collect()
    }
}

impl TrainConfig {
    /// What the run's preset sets otherwise.
    pub fn preset_overrides(&self) -> Vec<Override> {
        // A name that a later version no longer has: the config says what was used.
        let preset = self.preset.as_deref().and_then(|name| Preset::named(name).ok());
        preset.map_or(vec![], |preset| preset.overrides(self))
    }
}

/// A value as people write it. Some settings are f32: all numbers are shown as such.
fn text(value: &Value) -> String {
    match value {
        Value::Float(x) => (*x as f32).to_string(),
        other => toml_text::shown(other),
    }
}

impl Collection {
    fn presets(&self) -> Vec<Preset> {
        let mut tables: Table = self.text.parse().expect("a test reads it");
        let table = |value| if let Value::Table(table) = value { table } else { Table::new() };
        let all = tables.remove("all").map(table).unwrap_or_default();
        let preset = |(name, own): (String, Value)| {
            let name = format!("{}/{name}", self.name);
            let dataset = Known::named(&name).expect("a test reads it");
            let mut settings = all.clone();
            settings.extend(table(own));
            let group = settings.remove("group").and_then(|group| group.as_str().map(String::from));
            settings.insert("dataset".into(), dataset.name.into());
            Preset { name, dataset, published: self.published, group, settings }
        };
        tables.into_iter().map(preset).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::layouts::KNOWN;

    #[test]
    fn there_are_those_of_the_paper_and_the_tasks_of_vtab() {
        let all = Preset::all();
        let of = |start: &str| all.iter().filter(|preset| preset.name.starts_with(start)).count();
        assert_eq!((of("hta/"), of("vtab/"), all.len()), (10, 19, 29));
        let tasks = KNOWN.iter().filter(|known| known.name.starts_with("vtab/"));
        assert_eq!(tasks.count(), of("vtab/"), "every task has one");
        assert!(all.iter().all(|preset| preset.published == preset.name.starts_with("hta/")));
        let error = Preset::named("hta/cub").unwrap_err().to_string();
        assert!(error.contains("hta/cub") && error.contains("--preset list"), "{error}");
    }

    /// Checks rate, weight decay, group size, mixing, seed, SimAM and head (`docs/recipe.md`, "Settings of each data
    /// set").
    #[test]
    fn published_settings_are_those_of_the_script() {
        let table = [
            ("cub200", 6e-3, 1e-4, 8, true, 0, false, true),
            ("cifar100", 5e-3, 1e-5, 12, true, 0, true, false),
            ("cifar10", 5e-3, 1e-4, 8, true, 0, true, false),
            ("dtd", 6.5e-3, 1e-4, 4, true, 3407, false, false),
            ("dogs", 5e-4, 1e-8, 12, true, 0, false, false),
            ("gtsrb", 1e-2, 1e-6, 6, true, 0, false, false),
            ("nabirds", 1e-2, 0.0, 8, true, 0, false, true),
            ("svhn", 1.5e-2, 1e-3, 12, false, 0, false, false),
            ("flowers102", 1.5e-2, 1e-4, 8, false, 0, true, true),
            ("food101", 5e-3, 1e-4, 8, true, 0, false, false),
        ];
        for (name, lr, decay, group, mixed, seed, simam, two) in table {
            let Preset { settings, .. } = Preset::named(&format!("hta/{name}")).unwrap();
            let number = |key: &str| settings[key].as_float().unwrap();
            assert_eq!((number("lr"), number("weight-decay")), (lr, decay), "{name}");
            assert_eq!(
                [number("mixup"), number("cutmix")],
                if mixed { [0.8, 1.0] } else { [0.0; 2] },
                "{name}"
            );
            let count = |key: &str| settings[key].as_integer().unwrap();
            assert_eq!((count("group-size"), count("seed")), (group, seed), "{name}");
            assert_eq!(
                (count("epochs"), count("batch-size"), count("warmup-epochs")),
                (100, 96, 5),
                "{name}"
            );
            assert_eq!(settings.get("simam").is_some(), simam, "{name}");
            assert_eq!(settings.get("head").is_some(), two, "{name}");
        }
    }
}
