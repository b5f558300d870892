//! What the runs of a sweep have found so far.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use toml::Table;

use super::plan::comparable;
use super::table::summary;
use super::{Cell, Plan, Point, Run};
use crate::train::{BUILTIN_BACKBONE, Outcome, TrainConfig, read_config};
use crate::{Error, Result};

/// What is known of a run.
#[derive(Debug)]
pub enum State {
    Todo,
    /// Of this process, or of another one.
    Running,
    Done(Box<Outcome>),
    Failed(Failure),
}

/// Why a run has no result.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The loss stopped being finite: it would do so again, and such settings are not chosen.
    pub diverged: bool,
    /// The run's own error.
    pub message: String,
}

/// The states of all runs of a plan.
pub struct Results<'a> {
    plan: &'a Plan,
    states: HashMap<PathBuf, State>,
}

/// Accuracies in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    pub mean: f64,
    /// Sample standard deviation; `None` of one value.
    pub deviation: Option<f64>,
}

/// What a cell has found so far.
pub struct Found<'a> {
    pub chosen: &'a Point,
    /// Seeds in order; `None` while a run is not finished.
    pub outcomes: Vec<Option<&'a Outcome>>,
}

/// Of the backbone of a run.
type Hash<'a> = &'a dyn Fn(&Run) -> Result<String>;

/// Written into a run's folder when its loss has diverged.
const DIVERGED: &str = "diverged.txt";

impl<'a> Results<'a> {
    /// Reads what lies in the sweep's folders; several hold parts of one sweep.
    ///
    /// # Errors
    /// A damaged report, a run with other settings than the plan's, runs of different backbones.
    pub fn read(plan: &'a Plan, folders: &[PathBuf]) -> Result<Self> {
        let mut results = Results { plan, states: HashMap::new() };
        for run in plan.runs() {
            let mut state = State::Todo;
            for folder in folders {
                let found = read(run, folder)?;
                // A result counts, wherever else the run failed.
                if matches!((&state, &found), (State::Todo, _) | (_, State::Done(_))) {
                    state = found;
                }
            }
            results.set(run, state);
        }
        results.check_backbones(None)?;
        Ok(results)
    }

    pub fn state(&self, run: &Run) -> &State {
        &self.states[&run.folder]
    }

    pub fn set(&mut self, run: &Run, state: State) {
        self.states.insert(run.folder.clone(), state);
    }

    /// Reads again what lies in a run's folder.
    pub fn update(&mut self, run: &Run, folder: &Path) -> Result<()> {
        self.set(run, read(run, folder)?);
        Ok(())
    }

    fn done(&self, run: &Run) -> Option<&Outcome> {
        match self.state(run) {
            State::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The point with the best validation accuracy, the first of equals; `None` until all have one. One that diverged
    /// is not chosen.
    pub fn chosen(&self, cell: &'a Cell) -> Option<&'a Point> {
        let mut best: Option<(&Point, f64)> = None;
        for point in &cell.points {
            let Some(probe) = &point.probe else { return Some(point) };
            let top1 = match self.state(probe) {
                // Where the last epoch will be reported, it is what is compared.
                State::Done(outcome) if point.runs[0].config.selects_on().is_none() => outcome.last?.value,
                State::Done(outcome) => outcome.selected?.value,
                State::Failed(failure) if failure.diverged => continue,
                _ => return None,
            };
            if best.is_none_or(|(_, most)| top1 > most) {
                best = Some((point, top1));
            }
        }
        best.map(|(point, _)| point)
    }

    pub fn found(&self, cell: &'a Cell) -> Option<Found<'_>> {
        let chosen = self.chosen(cell)?;
        Some(Found { chosen, outcomes: chosen.runs.iter().map(|run| self.done(run)).collect() })
    }

    /// A run that can be made now, of the units that `mine` says.
    pub fn next(&self, mine: impl Fn(usize) -> bool) -> Option<&'a Run> {
        let todo = |run: &&Run| mine(run.unit) && matches!(self.state(run), State::Todo);
        self.plan.cells.iter().find_map(|cell| {
            let probe = cell.points.iter().filter_map(|point| point.probe.as_ref()).find(todo);
            probe.or_else(|| self.chosen(cell)?.runs.iter().find(todo))
        })
    }

    /// How many runs are still to be made, those under way among them.
    pub fn left(&self, mine: impl Fn(usize) -> bool) -> usize {
        self.open(mine).len()
    }

    /// The runs that are still to be made. Before there is a choice, those of the first point stand for the chosen
    /// one's.
    pub fn open(&self, mine: impl Fn(usize) -> bool) -> Vec<&'a Run> {
        let open = |run: &Run| mine(run.unit) && matches!(self.state(run), State::Todo | State::Running);
        let of = |cell: &'a Cell| {
            let probes = cell.points.iter().filter_map(|point| point.probe.as_ref());
            let mut runs: Vec<&Run> = probes.filter(|run| open(run)).collect();
            let chosen = self.chosen(cell).or((!runs.is_empty()).then_some(&cell.points[0]));
            for run in chosen.iter().flat_map(|point| &point.runs).filter(|run| open(run)) {
                if runs.iter().all(|other| other.folder != run.folder) {
                    runs.push(run);
                }
            }
            runs
        };
        self.plan.cells.iter().flat_map(of).collect()
    }

    /// Runs that failed, with the reason.
    pub fn failures(&self) -> Vec<(&'a Run, &Failure)> {
        let failure = |run: &'a Run| match self.state(run) {
            State::Failed(failure) => Some((run, failure)),
            _ => None,
        };
        self.plan.runs().filter_map(failure).collect()
    }

    /// The results as JSON: cells, means of groups and of all, runs that failed.
    pub fn json(&self) -> String {
        let rows: Vec<_> = summary(self.plan, self)
            .iter()
            .map(|row| serde_json::to_value(row).expect("plain data"))
            .collect();
        let failed: Vec<_> = self
            .failures()
            .into_iter()
            .map(|(run, failure)| json!({ "run": run.name(), "diverged": failure.diverged, "message": failure.message }))
            .collect();
        let left = self.left(|_| true);
        json!({ "title": self.plan.sweep.title, "results": rows, "failed": failed, "left": left }).to_string()
    }

    /// All finished runs.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.plan.runs().filter_map(|run| self.done(run))
    }

    /// Accuracy of a task, over the seeds that are finished.
    pub fn task(&self, task: usize, column: usize) -> Option<Stat> {
        let found = self.found(self.plan.cell(task, column))?;
        Stat::of(&found.top1().into_iter().flatten().collect::<Vec<_>>())
    }

    /// Mean over the tasks of a group; `None` until all of them are finished. The deviation is that of the means of
    /// each seed.
    pub fn group(&self, group: &str, column: usize) -> Option<Stat> {
        Stat::of(&self.group_by_seed(Some(group), column)?)
    }

    /// Mean over the groups' means, or over the tasks where there are no groups.
    pub fn mean(&self, column: usize) -> Option<Stat> {
        let groups = self.plan.groups();
        if !self.plan.in_groups() {
            return Stat::of(&self.group_by_seed(None, column)?);
        }
        let means = groups.iter().map(|group| self.group_by_seed(Some(group), column));
        Stat::of(&mean_of(&means.collect::<Option<Vec<_>>>()?))
    }

    /// The mean over tasks, for each seed.
    fn group_by_seed(&self, group: Option<&str>, column: usize) -> Option<Vec<f64>> {
        let of_group = |task: &usize| group.is_none() || self.plan.tasks[*task].group.as_deref() == group;
        let tasks = (0..self.plan.tasks.len()).filter(of_group);
        let seeds = |task| -> Option<Vec<f64>> {
            self.found(self.plan.cell(task, column))?.top1().into_iter().collect()
        };
        Some(mean_of(&tasks.map(seeds).collect::<Option<Vec<_>>>()?))
    }

    /// Refuses results of different backbones where one is meant, wherever they were made. `now` says the hash of the
    /// one that a run would use.
    ///
    /// # Errors
    /// As said, and those of `now`.
    pub fn check_backbones(&self, now: Option<Hash>) -> Result<()> {
        let mut seen: HashMap<&Option<PathBuf>, (String, String)> = HashMap::new();
        for run in self.plan.runs().filter(|run| run.config.model.is_none()) {
            let key = &run.config.backbone;
            if let (Some(now), false) = (now, seen.contains_key(key)) {
                let name = key.as_ref().map_or(BUILTIN_BACKBONE.into(), |path| path.display().to_string());
                seen.insert(key, (name, now(run)?));
            }
            let Some(outcome) = self.done(run) else { continue };
            let own = || (run.folder.display().to_string(), outcome.backbone_hash.clone());
            let (first, hash) = seen.entry(key).or_insert_with(own);
            if *hash != outcome.backbone_hash {
                let what = format!("was made with another backbone than {first}");
                return Err(Error::path(&run.folder, what, "name that backbone, or choose another --out"));
            }
        }
        Ok(())
    }

    /// How many runs are missing for good: what failed, but for settings that diverged and were not chosen.
    pub fn problems(&self) -> usize {
        let of = |cell: &'a Cell| {
            let failed = |run: &&Run| matches!(self.state(run), State::Failed(_));
            match self.chosen(cell) {
                Some(point) => point.runs.iter().filter(failed).count(),
                None => cell.runs().filter(failed).count(),
            }
        };
        self.plan.cells.iter().map(of).sum()
    }

    /// Whether nothing can be said of a cell because the loss diverged.
    pub fn diverged(&self, cell: &'a Cell) -> bool {
        let diverged = |run: &Run| matches!(self.state(run), State::Failed(failure) if failure.diverged);
        match self.chosen(cell) {
            Some(point) => point.runs.iter().any(diverged),
            None => cell.points.iter().filter_map(|point| point.probe.as_ref()).all(diverged),
        }
    }
}

impl Plan {
    /// Every run, whatever will be chosen; each once.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.cells.iter().flat_map(Cell::runs)
    }
}

impl Cell {
    fn runs(&self) -> impl Iterator<Item = &Run> {
        self.points.iter().flat_map(Point::all_runs)
    }
}

impl Point {
    /// The probe and the reported runs, each once.
    pub fn all_runs(&self) -> impl Iterator<Item = &Run> {
        let own = |probe: &&Run| self.runs.iter().all(|run| run.folder != probe.folder);
        self.probe.iter().filter(own).chain(&self.runs)
    }
}

impl Found<'_> {
    /// Of each seed, in percent.
    pub fn top1(&self) -> Vec<Option<f64>> {
        self.outcomes.iter().map(|outcome| Some(100.0 * outcome.as_ref()?.score()?.value)).collect()
    }
}

impl Stat {
    /// `None` of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        (!values.is_empty()).then_some(Stat { mean, deviation })
    }
}

/// Means over rows of equal length.
fn mean_of(rows: &[Vec<f64>]) -> Vec<f64> {
    let seeds = rows.first().map_or(0, Vec::len);
    (0..seeds).map(|seed| rows.iter().map(|row| row[seed]).sum::<f64>() / rows.len() as f64).collect()
}

/// Notes beside a run that its loss diverged.
pub fn mark_diverged(folder: &Path, message: &str) -> Result<()> {
    let path = folder.join(DIVERGED);
    std::fs::write(&path, message).map_err(|e| Error::io(&path, "write", &e))
}

/// What lies in a run's folder.
fn read(run: &Run, sweep: &Path) -> Result<State> {
    let folder = sweep.join(&run.folder);
    let config = folder.join("config.toml");
    if !config.is_file() {
        return Ok(State::Todo);
    }
    let config = read_config(&config)?;
    if !run.is_like(&config) {
        let what =
            format!("was made with other settings than the sweep's ({})", difference(&config, &run.config));
        return Err(Error::path(&folder, what, "remove the folder, or choose another --out"));
    }
    if let Some(outcome) = Outcome::read(&folder)? {
        return Ok(State::Done(Box::new(outcome)));
    }
    Ok(match std::fs::read_to_string(folder.join(DIVERGED)) {
        Ok(message) => State::Failed(Failure { diverged: true, message }),
        Err(_) => State::Todo,
    })
}

/// The first setting that differs.
fn difference(there: &TrainConfig, wanted: &TrainConfig) -> String {
    let table = |config| Table::try_from(comparable(config)).expect("plain values make valid TOML");
    let (there, wanted) = (table(there), table(wanted));
    let text = |table: &Table, key: &str| table.get(key).map_or("none".to_string(), toml::Value::to_string);
    let mut keys = there.keys().chain(wanted.keys()).filter(|key| there.get(*key) != wanted.get(*key));
    let told = |key: &String| format!("{key} {}, now {}", text(&there, key), text(&wanted, key));
    keys.next().map_or(String::new(), told)
}
