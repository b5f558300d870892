//! The runs of a sweep.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::published::{self, PublishedRow};
use super::spec::{Method, Published, Sweep, Task};
use crate::toml_text::shown;
use crate::train::{BUILTIN, Preset, TrainConfig};
use crate::{Error, Result};

/// Most runs of a sweep, so that a slip in a list does not make millions.
const MOST_RUNS: usize = 50_000;

/// Most bytes of a name of a folder. A file system takes 255; `.toml` and `.partial` need some.
const LONGEST: usize = 200;

/// Overrides that hold for the reported runs only: nothing is chosen with them.
const LATE: [&str; 2] = ["select-on-test", "train-on-val"];

/// Settings that tell tasks, methods or seeds apart, and so cannot be overridden for all runs.
const OWN: [&str; 5] = ["data", "backbone", "preset", "method", "seed"];

/// All runs of a sweep.
#[derive(Debug)]
pub struct Plan {
    /// What was asked for.
    pub sweep: Sweep,
    /// Rows of the results.
    pub tasks: Vec<Task>,
    /// Names of the columns of the results: methods, with the values of `vary`.
    pub columns: Vec<String>,
    /// The cells of the results, task by task.
    pub cells: Vec<Cell>,
    /// Published accuracies in percent by column, then by task, group or `mean`.
    published: BTreeMap<String, BTreeMap<String, f64>>,
    /// The rows of the published table that the sweep does not run.
    pub not_run: Vec<PublishedRow>,
}

/// A cell of the results: a task and a method.
#[derive(Debug)]
pub struct Cell {
    /// Number of the task.
    pub task: usize,
    /// Number of the column.
    pub column: usize,
    /// The hyper-parameters that are chosen from; one point without any if nothing is chosen.
    pub points: Vec<Point>,
}

/// A combination of hyper-parameters that may be chosen.
#[derive(Debug)]
pub struct Point {
    /// Its settings as text, such as `lr=0.005, weight-decay=0.0001`; empty if nothing is chosen.
    pub label: String,
    /// The run by whose validation accuracy it is chosen, which may be one of `reported`; `None` if nothing is chosen.
    pub probe: Option<Run>,
    /// The runs that are reported if it is chosen, one for each seed.
    pub reported: Vec<Run>,
}

/// One training run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its folder, relative to that of the sweep.
    pub folder: PathBuf,
    /// Numbers of its task and its column.
    pub cell: (usize, usize),
    /// Number of its unit. Runs of one unit are made on one machine, as some depend on the results of others.
    pub unit: usize,
    /// All its settings, the name of its preset included.
    pub settings: Table,
    /// The settings completed by its preset and the defaults.
    pub config: TrainConfig,
}

/// Completes settings to a config.
type Resolve<'a> = &'a dyn Fn(&Table) -> Result<TrainConfig>;

impl Plan {
    /// Works out all runs of a sweep. `resolve` completes settings by preset and defaults.
    ///
    /// # Errors
    /// Settings that cannot work, with their task and method; names that appear twice; too many runs.
    pub fn new(sweep: Sweep, resolve: Resolve) -> Result<Self> {
        check(&sweep)?;
        let tasks = tasks(&sweep)?;
        let vary = product(&sweep.vary, "vary")?;
        let columns: Vec<(String, &Method, &Table)> = sweep
            .methods
            .iter()
            .flat_map(|method| vary.iter().map(move |vary| (column_name(method, vary), method, vary)))
            .collect();
        let names = || columns.iter().map(|(name, ..)| name.as_str());
        unique("methods", names())?;
        unique("tasks", tasks.iter().map(|task| task.name.as_str()))?;
        if columns.is_empty() || tasks.is_empty() {
            return Err(Error::input(
                &sweep.title,
                "has no task or no method",
                "add presets or tasks, and methods",
            ));
        }
        let mut cells = vec![];
        for (t, task) in tasks.iter().enumerate() {
            for (c, (name, method, vary)) in columns.iter().enumerate() {
                let of = Making { sweep: &sweep, cell: (t, c), task, column: name, method, vary, resolve };
                let points = of.points().map_err(|e| e.within(&format!("{}, {name}", task.name)))?;
                cells.push(Cell { task: t, column: c, points });
            }
        }
        let columns = names().map(String::from).collect();
        let (published, not_run) = (BTreeMap::new(), vec![]);
        let mut plan = Plan { tasks, columns, cells, published, not_run, sweep };
        if let Some(published) = plan.sweep.published.clone() {
            plan.add_published(published)?;
        }
        plan.number_units();
        Ok(plan)
    }

    /// Numbers the units column by column, so that all shards get about as many runs of each method.
    fn number_units(&mut self) {
        let mut unit = 0;
        for column in 0..self.columns.len() {
            for cell in self.cells.iter_mut().filter(|cell| cell.column == column) {
                let apart = cell.points.iter().all(|point| point.probe.is_none());
                for point in &mut cell.points {
                    point.probe.iter_mut().for_each(|probe| probe.unit = unit);
                    for (seed, run) in point.reported.iter_mut().enumerate() {
                        run.unit = unit + if apart { seed } else { 0 };
                    }
                }
                unit += if apart { cell.points[0].reported.len() } else { 1 };
            }
        }
    }

    /// The cell of a task and a column.
    pub fn cell(&self, task: usize, column: usize) -> &Cell {
        &self.cells[task * self.columns.len() + column]
    }

    /// The groups of the tasks, in the order of the tasks.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = vec![];
        for group in self.tasks.iter().filter_map(|task| task.group.as_deref()) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// Whether every task is in a group, so that the mean is one over groups.
    pub fn in_groups(&self) -> bool {
        self.tasks.iter().all(|task| task.group.is_some())
    }

    /// The published accuracy in percent for a column, and for the task or group named by `row`, or for `mean`.
    pub fn published(&self, column: usize, row: &str) -> Option<f64> {
        self.published.get(&self.columns[column])?.get(row).copied()
    }

    /// Names of the tasks, of their groups, and `mean`.
    pub fn rows(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().map(|task| task.name.as_str()).chain(self.groups()).chain(["mean"])
    }

    /// Every run once, whatever will be chosen.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.cells.iter().flat_map(Cell::runs)
    }

    /// Adds the numbers of the table that the sweep names, then those that it gives itself.
    fn add_published(&mut self, Published { table, values, .. }: Published) -> Result<()> {
        let wrong = |what: String, hint: String| Err(Error::input("published", what, hint));
        for mut row in table.iter().flat_map(|table| published::rows(table)).flatten() {
            let is_task = |name: &str| self.tasks.iter().any(|task| task.name == name);
            // A mean over other tasks than these says nothing about them.
            if !row.values.keys().all(|name| is_task(name) || self.rows().any(|known| known == *name)) {
                row.values.retain(|name, _| is_task(name));
            }
            match row.column.filter(|column| self.columns.iter().any(|known| known == column)) {
                Some(column) => {
                    let values = row.values.into_iter().map(|(row, value)| (row.to_string(), value));
                    self.published.insert(column.into(), values.collect());
                }
                None if !row.values.is_empty() => self.not_run.push(row),
                None => {}
            }
        }
        if let Some(table) = table.filter(|table| published::rows(table).is_none()) {
            let hint = format!("use one of {}", published::names().join(", "));
            return wrong(format!("there is no table {table:?}"), hint);
        }
        for (column, values) in values {
            let unknown = values.keys().find(|&row| self.rows().all(|known| known != row));
            let unknown = if self.columns.contains(&column) { unknown } else { Some(&column) };
            if let Some(unknown) = unknown {
                let hint = "name a column, then a task, a group or mean";
                return wrong(format!("there is no {unknown:?}"), hint.into());
            }
            self.published.entry(column).or_default().extend(values);
        }
        Ok(())
    }
}

impl Cell {
    /// Every run once, whatever will be chosen.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.points.iter().flat_map(Point::runs)
    }
}

impl Point {
    /// The probe and the reported runs, each once.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        let own = |probe: &&Run| self.reported.iter().all(|run| run.folder != probe.folder);
        self.probe.iter().filter(own).chain(&self.reported)
    }
}

impl Run {
    /// Its folder with `/` between the parts, the same on every system.
    pub fn name(&self) -> String {
        let parts: Vec<_> = self.folder.iter().map(|part| part.to_string_lossy()).collect();
        parts.join("/")
    }

    /// The same run with another seed, which changes nothing else of its config.
    fn with_seed(&self, seed: u64) -> Result<Self> {
        let mut run = self.clone();
        let role =
            self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let role = role.trim_end_matches(|c: char| c.is_ascii_digit());
        run.folder.set_file_name(format!("{role}{seed}"));
        run.settings.insert("seed".into(), as_setting(seed)?);
        run.config.seed = seed;
        Ok(run)
    }

    /// Whether a run with this config is the one that is wanted, wherever its data are and however they were loaded.
    pub fn is_like(&self, config: &TrainConfig) -> bool {
        comparable(config) == comparable(&self.config)
    }
}

/// A config without the settings that do not change what is trained. The data of a preset are identified by the name
/// of the preset, others by that of their folder or archive, and so is a run that gives initial values; backbones are
/// compared by their hash elsewhere.
pub(super) fn comparable(config: &TrainConfig) -> TrainConfig {
    let named = config.preset.as_deref().is_some_and(Preset::names_data);
    let name = config.data.file_name().filter(|_| !named);
    let run = |run: &Option<PathBuf>| run.as_deref().and_then(Path::file_name).map(PathBuf::from);
    TrainConfig {
        data: name.unwrap_or_default().into(),
        backbone: None,
        init_from: run(&config.init_from),
        prune_from: run(&config.prune_from),
        weights: None,
        workers: 0,
        save_every: 0,
        ..config.clone()
    }
}

/// What the runs of a cell are made from.
struct Making<'a> {
    sweep: &'a Sweep,
    cell: (usize, usize),
    task: &'a Task,
    column: &'a str,
    method: &'a Method,
    vary: &'a Table,
    resolve: Resolve<'a>,
}

impl Making<'_> {
    fn points(&self) -> Result<Vec<Point>> {
        let choose = self.method.choose.as_ref().unwrap_or(&self.sweep.choose);
        let combinations = product(choose, "choose")?;
        if let Some(key) =
            self.sweep.overrides.keys().find(|key| self.vary.contains_key(*key) || choose.contains_key(*key))
        {
            let what = format!("{key} is varied or chosen by the sweep");
            return Err(Error::input("overrides", what, "change the sweep's lists instead"));
        }
        let points = combinations.iter().map(|chosen| self.point(chosen)).collect::<Result<Vec<_>>>()?;
        unique("choose", points.iter().map(|point| point.label.as_str()).filter(|label| !label.is_empty()))?;
        Ok(points)
    }

    fn point(&self, chosen: &Table) -> Result<Point> {
        let label = label(chosen);
        let seeds: Vec<Option<u64>> = match self.sweep.seeds_of(self.method) {
            [] => vec![None],
            seeds => seeds.iter().copied().map(Some).collect(),
        };
        let run = |seed, retrain| self.run(chosen, &label, seed, retrain);
        let probe = if chosen.is_empty() { None } else { Some(run(seeds[0], false)?) };
        if let Some(probe) = &probe
            && (probe.config.select_on_test || probe.config.train_on_val)
        {
            let what = "hyper-parameters are chosen on validation only";
            let hint = "move the setting to retrain, or leave it out";
            return Err(Error::input("select-on-test, train-on-val", what, hint));
        }
        let first = run(seeds[0], true)?;
        let others = seeds[1..].iter().flatten().map(|&seed| first.with_seed(seed));
        let others = others.collect::<Result<Vec<_>>>()?;
        let reported = [first].into_iter().chain(others).collect();
        Ok(Point { label, probe, reported })
    }

    fn run(&self, chosen: &Table, label: &str, seed: Option<u64>, reported: bool) -> Result<Run> {
        let (task, method) = (&self.task.settings, &self.method.settings);
        let mut settings = Table::new();
        let layers = [&self.sweep.settings, task, method, self.vary, chosen];
        for layer in layers {
            settings.extend(layer.clone());
        }
        let presets: Vec<&str> = layers.iter().filter_map(|layer| layer.get("preset")?.as_str()).collect();
        if !presets.is_empty() {
            settings.insert("preset".into(), presets.join("+").into());
        }
        let late = |key: &str| LATE.contains(&key);
        let overrides = self.sweep.overrides.iter().filter(|(key, _)| reported || !late(key));
        let retrain = self.sweep.retrain.iter().filter(|_| reported);
        settings.extend(retrain.chain(overrides).map(|(key, value)| (key.clone(), value.clone())));
        // The data of a task are in the data folder of the sweep, and the backbone of a method is in its folder of
        // backbones.
        for (key, of) in [("data", task), ("backbone", method)] {
            if let (Some(Value::String(folder)), Some(Value::String(file))) =
                (self.sweep.settings.get(key), of.get(key))
                && !file.starts_with(BUILTIN)
            {
                let path = Path::new(folder).join(file);
                settings.insert(key.into(), path.to_string_lossy().into_owned().into());
            }
        }
        if let Some(seed) = seed {
            settings.insert("seed".into(), as_setting(seed)?);
        }
        let config = (self.resolve)(&settings)?;
        config.check()?;
        let same = self.sweep.retrain.is_empty() && !self.sweep.overrides.keys().any(|key| late(key));
        let role = if reported || same { "" } else { "choose-" };
        let parts = [self.task.name.as_str(), self.column, label].into_iter().filter(|part| !part.is_empty());
        let folder: PathBuf = ["runs".to_string()].into_iter().chain(parts.map(plain)).collect();
        let folder = folder.join(format!("{role}seed-{}", config.seed));
        Ok(Run { folder, cell: self.cell, unit: 0, settings, config })
    }
}

/// A seed as a setting of a file, whose numbers have a sign.
fn as_setting(seed: u64) -> Result<Value> {
    let number = i64::try_from(seed);
    number
        .map(Value::from)
        .map_err(|_| Error::input("seeds", format!("{seed} is too large"), "use smaller ones"))
}

/// The presets as tasks, then the tasks of the sweep itself.
fn tasks(sweep: &Sweep) -> Result<Vec<Task>> {
    let preset = |name: &String| {
        let Preset { dataset, group, .. } = Preset::named(name)?;
        if dataset.is_none() {
            let what = format!("{name} is for a method, not for a data set");
            return Err(Error::input("presets", what, format!("write preset = {name:?} among its settings")));
        }
        let settings = Table::from_iter([("preset".to_string(), Value::from(name.clone()))]);
        Ok(Task { name: name.clone(), group, settings })
    };
    let mut tasks = sweep.presets.iter().map(preset).collect::<Result<Vec<_>>>()?;
    tasks.extend(sweep.tasks.iter().cloned());
    Ok(tasks)
}

/// Refuses settings without effect and too many runs, before the runs are worked out.
fn check(sweep: &Sweep) -> Result<()> {
    let clash = |key: &&String| OWN.contains(&key.as_str());
    if let Some(key) = sweep.overrides.keys().find(clash) {
        let what = format!("{key} is not the same for all runs");
        return Err(Error::input("overrides", what, "use --data or --backbone, or change the sweep"));
    }
    let chooses = |method: &Method| method.choose.as_ref().is_some_and(|choose| !choose.is_empty());
    if !sweep.retrain.is_empty() && sweep.choose.is_empty() && !sweep.methods.iter().any(chooses) {
        let what = "is for runs after a choice, and nothing is chosen";
        return Err(Error::input("retrain", what, "add choose, or move it to settings"));
    }
    for seeds in sweep.methods.iter().map(|method| sweep.seeds_of(method)).chain([&sweep.seeds[..]]) {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        unique("seeds", seeds.iter().map(String::as_str))?;
    }
    // What is empty is refused later. Until then it must not hide how long the other lists are.
    let size = |lists: &Table| {
        let lengths = lists.values().map(|list| list.as_array().map_or(1, |values| values.len().max(1)));
        lengths.fold(1, usize::saturating_mul)
    };
    let of_method = |method: &Method| {
        let points = size(method.choose.as_ref().unwrap_or(&sweep.choose));
        points.saturating_mul(size(&sweep.vary)).saturating_mul(sweep.seeds_of(method).len() + 1)
    };
    let tasks = (sweep.presets.len() + sweep.tasks.len()).max(1);
    let of_task = sweep.methods.iter().map(of_method).fold(0, usize::saturating_add).max(size(&sweep.vary));
    if of_task.saturating_mul(tasks) > MOST_RUNS {
        let what = format!("makes more than {MOST_RUNS} runs");
        return Err(Error::input(&sweep.title, what, "shorten its lists"));
    }
    Ok(())
}

/// All combinations of the values in lists; one empty combination if there are no lists.
fn product(lists: &Table, key_of_lists: &str) -> Result<Vec<Table>> {
    let mut combinations = vec![Table::new()];
    for (key, values) in lists {
        let Some(values) = values.as_array().filter(|values| !values.is_empty()) else {
            let what = format!("{key} must be a list of values");
            return Err(Error::input(key_of_lists, what, format!("write {key} = [...]")));
        };
        let with = |table: &Table, value: &Value| {
            let mut table = table.clone();
            table.insert(key.clone(), value.clone());
            table
        };
        combinations = combinations
            .iter()
            .flat_map(|table| values.iter().map(move |value| with(table, value)))
            .collect();
    }
    Ok(combinations)
}

fn column_name(method: &Method, vary: &Table) -> String {
    let name = [method.name.clone()].into_iter();
    name.chain(vary.iter().map(|(key, value)| format!("{key} {}", shown(value))))
        .collect::<Vec<_>>()
        .join(", ")
}

fn label(chosen: &Table) -> String {
    chosen.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect::<Vec<_>>().join(", ")
}

/// A name for a folder: without characters that a file system or a shell treats specially, and without dots at its
/// ends, so that it is neither hidden nor a way out of the folder that it is in.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.=+".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let words = name.split('-').map(|word| word.trim_matches('.')).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// Refuses names that cannot be those of folders, and those whose folders would be the same.
fn unique<'a>(of: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashMap::new();
    for name in names {
        let folder = plain(name).to_lowercase();
        let refused = |what: String, hint: &str| Err(Error::input(of, format!("{name:?} {what}"), hint));
        if folder.is_empty() {
            return refused(
                "has no letter or digit, so no folder can have the name".into(),
                "give it another",
            );
        }
        if folder.len() > LONGEST {
            return refused(format!("is longer than the {LONGEST} bytes of a folder's name"), "shorten it");
        }
        if name.contains(char::is_control) {
            return refused("has a control character".into(), "give it another name");
        }
        match seen.insert(folder, name) {
            None => {}
            Some(before) if before == name => return refused("appears twice".into(), "name it once"),
            Some(before) => {
                let what = format!("would have the folder of {before:?}");
                return refused(what, "give it a name that differs in more than case and punctuation");
            }
        }
    }
    Ok(())
}
