//! Named settings: for a data set, for a method, or for both together. They are published, or this project's where none
//! are.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::config::TrainConfig;
use crate::data::Known;
use crate::methods::setting_names;
use crate::{Error, Result, toml_text};

/// Presets of data sets: the settings they share in `[all]`, then one table for each.
struct Collection {
    name: &'static str,
    text: &'static str,
    published: bool,
}

static COLLECTIONS: [Collection; 3] = [
    Collection { name: "hta", text: include_str!("presets/hta.toml"), published: true },
    Collection { name: "vtab", text: include_str!("presets/vtab.toml"), published: false },
    Collection { name: "fgvc", text: include_str!("presets/fgvc.toml"), published: false },
];

macro_rules! of_methods {
    ($($name:literal)*) => {
        /// Presets of methods by the method's name: `source`, the settings in `[published]` and in `[ours]`, and in
        /// `[grid]` the published values from which some settings are chosen.
        static OF_METHODS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("presets/methods/", $name, ".toml"))),)*];
    };
}

of_methods!("svp" "linear" "full" "vpt" "spt" "dam-vp" "autovp" "vp" "bitfit" "lora" "ssf" "ivpt" "provp" "express" "gapt"
    "e2vpt" "sa2vp" "adapter" "adaptformer" "fact" "bi-adapter" "sct" "snf");

/// Published settings of methods for single tasks: a table for each method, in it one for each preset of a data set.
static OF_TASKS: &str = include_str!("presets/tasks.toml");

/// Joins the names of presets that are used together.
const AND: char = '+';

/// Named settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Collection and data set, such as `hta/cub200`; or a method, such as `vpt`; or several, such as `hta/cub200+vpt`.
    pub name: String,
    /// The data set that the settings are for; `None` in those of a method.
    pub dataset: Option<&'static Known>,
    /// Where the settings of a method were published.
    pub source: Option<String>,
    /// Names of the settings that are not published, but this project's.
    pub ours: Vec<String>,
    /// Published lists of values from which settings of a method are chosen for each task.
    pub grid: Table,
    /// Published settings of a method for single tasks, by the names of the tasks' presets. They win over `settings` where
    /// the preset is used together with one of these.
    pub by_task: Table,
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
    /// All presets: those of data sets in the order of the paper's tables, then those of methods.
    pub fn all() -> &'static [Preset] {
        static ALL: LazyLock<Vec<Preset>> = LazyLock::new(|| {
            let of_methods = OF_METHODS.iter().map(|(name, text)| of_method(name, text));
            COLLECTIONS.iter().flat_map(Collection::presets).chain(of_methods).collect()
        });
        &ALL
    }

    /// Finds a preset by its name. Names that are joined by `+` make one preset, in which later settings win.
    ///
    /// # Errors
    /// A name that no preset has, or two data sets.
    pub fn named(name: &str) -> Result<Preset> {
        let mut taken: Vec<&str> = vec![];
        let mut take = |part: &'_ str| {
            let found = Preset::all().iter().find(|preset| preset.name == part);
            let found = found.filter(|preset| !taken.contains(&preset.name.as_str()));
            taken.extend(found.map(|preset| preset.name.as_str()));
            found.cloned().ok_or_else(|| {
                let what = format!("there is no {part:?}, or it is named twice");
                Error::input("--preset", what, "see --preset list")
            })
        };
        let mut parts = name.split(AND);
        let first = take(parts.next().expect("there is a first part"))?;
        parts.try_fold(first, |preset, part| preset.with(take(part)?))
    }

    /// Whether a preset of this name says which data set it is for. It need not be one that this version has.
    pub(crate) fn names_data(name: &str) -> bool {
        name.split(AND).any(|part| part.contains('/'))
    }

    /// Both presets together; the settings of `later` win.
    fn with(mut self, later: Preset) -> Result<Preset> {
        if let (Some(one), Some(other)) = (self.dataset, later.dataset) {
            let what = format!("{} and {} are two data sets", one.name, other.name);
            return Err(Error::input(
                "--preset",
                what,
                "name one data set and one method, as in hta/dtd+vpt",
            ));
        }
        self.ours.retain(|setting| !later.settings.contains_key(setting));
        self.ours.extend(later.ours);
        self.settings.extend(later.settings);
        let of_task = self.name.split(AND).find_map(|part| later.by_task.get(part)?.as_table());
        for (setting, value) in of_task.into_iter().flatten() {
            self.ours.retain(|ours| ours != setting);
            self.settings.insert(setting.clone(), value.clone());
        }
        Ok(Preset {
            name: format!("{}{AND}{}", self.name, later.name),
            dataset: self.dataset.or(later.dataset),
            source: self.source.or(later.source),
            ours: self.ours,
            grid: if later.grid.is_empty() { self.grid } else { later.grid },
            by_task: if later.by_task.is_empty() { self.by_task } else { later.by_task },
            group: self.group.or(later.group),
            settings: self.settings,
        })
    }

    /// Whether all settings of a data set's preset, but the share of validation images, are those of the published
    /// program.
    pub fn published(&self) -> bool {
        self.ours.iter().all(|setting| setting == "val-fraction")
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

/// The values of a table, or none.
fn table(value: Option<Value>) -> Table {
    if let Some(Value::Table(table)) = value { table } else { Table::new() }
}

impl Collection {
    fn presets(&self) -> Vec<Preset> {
        let mut tables: Table = self.text.parse().expect("a test reads it");
        let all = table(tables.remove("all"));
        let preset = |(name, own): (String, Value)| {
            let name = format!("{}/{name}", self.name);
            let dataset = Known::named(&name).expect("a test reads it");
            let mut settings = all.clone();
            settings.extend(table(Some(own)));
            let group = settings.remove("group").and_then(|group| group.as_str().map(String::from));
            let ours = settings.keys().filter(|key| !self.published || *key == "val-fraction");
            let ours = ours.cloned().collect();
            settings.insert("dataset".into(), dataset.name.into());
            let (grid, by_task) = (Table::new(), Table::new());
            Preset { name, dataset: Some(dataset), source: None, ours, grid, by_task, group, settings }
        };
        tables.into_iter().map(preset).collect()
    }
}

fn of_method(name: &str, text: &str) -> Preset {
    let mut file: Table = text.parse().expect("a test reads it");
    let source = file.remove("source").and_then(|source| source.as_str().map(String::from));
    let (mut settings, ours) = (table(file.remove("published")), table(file.remove("ours")));
    settings.insert("method".into(), name.into());
    let names = ours.keys().cloned().collect();
    settings.extend(ours);
    let grid = table(file.remove("grid"));
    let mut of_tasks: Table = OF_TASKS.parse().expect("a test reads it");
    let by_task = table(of_tasks.remove(name));
    Preset { name: name.into(), dataset: None, source, ours: names, grid, by_task, group: None, settings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::layouts::KNOWN;
    use crate::methods::METHODS;

    #[test]
    fn there_are_those_of_the_paper_and_the_tasks_of_vtab_and_of_every_method() {
        let all = Preset::all();
        let of = |start: &str| all.iter().filter(|preset| preset.name.starts_with(start)).count();
        let counts = (of("hta/"), of("vtab/"), of("fgvc/"), all.len());
        assert_eq!(counts, (10, 19, 5, 34 + METHODS.len()));
        let tasks = KNOWN.iter().filter(|known| known.name.starts_with("vtab/"));
        assert_eq!(tasks.count(), of("vtab/"), "every task has one");
        for entry in METHODS {
            let preset = Preset::named(entry.name).expect("every method has a preset");
            assert!(preset.source.is_some() && preset.dataset.is_none(), "{}", entry.name);
            assert_eq!(preset.settings["method"].as_str(), Some(entry.name));
        }
        let of_data = all.iter().filter(|preset| preset.dataset.is_some());
        assert!(of_data.into_iter().all(|preset| preset.published() == preset.name.starts_with("hta/")));
        let error = Preset::named("hta/cub").unwrap_err().to_string();
        assert!(error.contains("hta/cub") && error.contains("--preset list"), "{error}");
    }

    /// A setting stands in one of the two tables, and what is chosen from a published list is no published setting.
    #[test]
    fn presets_of_methods_say_whose_their_settings_are() {
        for (name, text) in OF_METHODS {
            let mut file: Table = text.parse().unwrap();
            let mut take = |key: &str| table(file.remove(key));
            let (published, ours, grid) = (take("published"), take("ours"), take("grid"));
            assert!(!published.is_empty() && !ours.is_empty(), "{name}");
            assert!(ours.keys().all(|key| !published.contains_key(key)), "{name}");
            assert!(grid.iter().all(|(key, list)| ours.contains_key(key) && list.is_array()), "{name}");
            file.remove("source").expect("it says where it was published");
            assert!(file.is_empty(), "{name}: {file}");
        }
    }

    #[test]
    fn a_data_set_and_a_method_go_together() {
        let both = Preset::named("hta/cub200+vpt").unwrap();
        let (data, method) = (Preset::named("hta/cub200").unwrap(), Preset::named("vpt").unwrap());
        assert_eq!((&*both.name, both.dataset), ("hta/cub200+vpt", data.dataset));
        assert!(method.settings.iter().all(|(key, value)| both.settings[key] == *value));
        assert_eq!(both.settings["dataset"], data.settings["dataset"]);
        assert_eq!(both.settings["ema-decay"], data.settings["ema-decay"], "what the later one leaves open");
        for (wrong, part) in [
            ("hta/cub200+hta/dtd", "two data sets"),
            ("hta/cub200+none", "\"none\""),
            ("vpt+vpt", "twice"),
            ("vpt+", "\"\""),
        ] {
            let error = Preset::named(wrong).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        assert!(Preset::names_data("hta/cub200+vpt") && !Preset::names_data("vpt"));
    }

    /// The sums by which the parameters that iVPT prints come out: of 12 blocks of 768 channels, 12 n D for the prompts, and
    /// 11 k D for the reinforced rows.
    #[test]
    fn settings_of_single_tasks_are_those_that_parameters_were_published_for() {
        let of_tasks: Table = OF_TASKS.parse().unwrap();
        let sum = |method: &str, benchmark: &str, setting: &str| -> i64 {
            let tasks = of_tasks[method].as_table().unwrap().iter();
            let tasks: Vec<_> = tasks.filter(|(task, _)| task.starts_with(benchmark)).collect();
            let known = Preset::all().iter().filter(|preset| preset.name.starts_with(benchmark)).count();
            assert_eq!(tasks.len(), known, "{method}, {benchmark}");
            for (task, _) in &tasks {
                assert!(Preset::named(task).is_ok(), "{task}");
            }
            tasks.iter().map(|(_, settings)| settings[setting].as_integer().unwrap()).sum()
        };
        assert_eq!(12 * 768 * sum("vpt", "vtab/", "tokens") / 19, 561_690);
        assert_eq!(12 * 768 * sum("vpt", "fgvc/", "tokens") / 5, 672_768);
        assert_eq!(12 * 768 * sum("ivpt", "vtab/", "tokens") / 19, 361_364);
        assert_eq!(11 * 768 * sum("ivpt", "vtab/", "salient") / 19, 184_077);
        assert_eq!(12 * 768 * sum("ivpt", "fgvc/", "tokens") / 5, 156_672);
        assert_eq!(11 * 768 * sum("ivpt", "fgvc/", "salient") / 5, 69_273);
        for (method, tasks) in &of_tasks {
            let Some(entry) = METHODS.iter().find(|entry| entry.name == method) else { continue };
            let settings =
                tasks.as_table().unwrap().values().flat_map(|task| task.as_table().unwrap().keys());
            for key in settings {
                assert!(entry.settings.iter().any(|setting| setting.name == key), "{method} has no {key}");
            }
        }
    }

    #[test]
    fn a_task_has_the_settings_that_its_method_publishes_for_it() {
        let tokens = |name: &str| {
            let preset = Preset::named(name).unwrap();
            let ours = preset.ours.iter().any(|setting| setting == "tokens");
            (preset.settings["tokens"].as_integer().unwrap(), ours)
        };
        assert_eq!(tokens("vpt"), (10, true));
        assert_eq!(tokens("vtab/svhn+vpt"), (50, false));
        assert_eq!(tokens("fgvc/cars+vpt"), (200, false));
        assert_eq!(tokens("hta/nabirds+vpt"), (10, true), "another benchmark");
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
