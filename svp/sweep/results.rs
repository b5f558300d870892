//! What the runs of a sweep have found so far, and what is chosen by it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::plan::{Cell, Plan, Point, Run, comparable};
use crate::data::regular::check_place;
use crate::data::text::read_settings;
use crate::train::{BUILTIN_BACKBONE, Outcome, TrainConfig, difference, read_config};
use crate::{Error, Result};

/// How far a run is.
#[derive(Debug)]
pub enum RunStatus {
    /// It is to be begun, or continued.
    Todo,
    /// It is under way, in this process or in another one.
    Running,
    /// It has a result.
    Done(Box<Outcome>),
    /// It has ended without a result.
    Failed(Failure),
}

/// Why a run has no result.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Whether the loss stopped being finite. It would do so again, and such settings are not chosen.
    pub diverged: bool,
    /// The error that the run ended with.
    pub message: String,
}

/// How far all runs of a plan are, by their folders.
pub struct Results<'a> {
    plan: &'a Plan,
    runs: HashMap<PathBuf, RunStatus>,
}

/// Top-1 accuracy over seeds, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// The mean over seeds.
    pub mean: f64,
    /// The sample standard deviation over seeds, in percent points; `None` for one seed.
    pub deviation: Option<f64>,
}

/// The result of a task and a method: the chosen hyper-parameters, and what was found with them.
pub struct CellResult<'a> {
    /// The chosen hyper-parameters.
    pub chosen: &'a Point,
    /// The results of the seeds in order; `None` while a run is not finished.
    pub outcomes: Vec<Option<&'a Outcome>>,
}

/// Says the hash of the backbone that a run would use.
type BackboneHash<'a> = &'a dyn Fn(&Run) -> Result<String>;

/// Name of the file that marks a run's folder when its loss has diverged.
const DIVERGED: &str = "diverged.txt";

impl<'a> Results<'a> {
    /// Reads the results in the folders of a sweep; each may hold a part of it.
    ///
    /// # Errors
    /// A damaged report, a run with other settings than the plan's, or runs of different backbones.
    pub fn read(plan: &'a Plan, folders: &[PathBuf]) -> Result<Self> {
        let mut results = Results { plan, runs: HashMap::new() };
        for run in plan.runs() {
            let mut status = RunStatus::Todo;
            for folder in folders {
                let here = read(run, folder)?;
                // A result counts, whether or not the run failed elsewhere.
                if matches!((&status, &here), (RunStatus::Todo, _) | (_, RunStatus::Done(_))) {
                    status = here;
                }
            }
            results.set(run, status);
        }
        results.check_backbones(None)?;
        Ok(results)
    }

    /// How far a run is.
    ///
    /// # Panics
    /// For a run of another plan.
    pub fn status(&self, run: &Run) -> &RunStatus {
        &self.runs[&run.folder]
    }

    /// Notes how far a run is.
    pub fn set(&mut self, run: &Run, status: RunStatus) {
        self.runs.insert(run.folder.clone(), status);
    }

    /// Reads the result of a run again; `folder` is that of the sweep.
    ///
    /// # Errors
    /// A damaged report, or a run with other settings than the plan's.
    pub fn update(&mut self, run: &Run, folder: &Path) -> Result<()> {
        self.set(run, read(run, folder)?);
        Ok(())
    }

    fn done(&self, run: &Run) -> Option<&Outcome> {
        match self.status(run) {
            RunStatus::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The hyper-parameters with the best validation accuracy, the first of equals; `None` until all have one. Those
    /// that diverged are not chosen.
    pub fn chosen(&self, cell: &'a Cell) -> Option<&'a Point> {
        let mut best: Option<(&Point, f64)> = None;
        for point in &cell.points {
            let Some(probe) = &point.probe else { return Some(point) };
            let top1 = match self.status(probe) {
                // If the last epoch will be reported, the last epochs are compared.
                RunStatus::Done(outcome) if point.reported[0].config.selects_on().is_none() => {
                    outcome.last?.value
                }
                RunStatus::Done(outcome) => outcome.selected?.value,
                RunStatus::Failed(failure) if failure.diverged => continue,
                _ => return None,
            };
            if best.is_none_or(|(_, most)| top1 > most) {
                best = Some((point, top1));
            }
        }
        best.map(|(point, _)| point)
    }

    /// The result of a task and a method; `None` until its hyper-parameters are chosen.
    pub fn result(&self, cell: &'a Cell) -> Option<CellResult<'_>> {
        let chosen = self.chosen(cell)?;
        Some(CellResult { chosen, outcomes: chosen.reported.iter().map(|run| self.done(run)).collect() })
    }

    /// A run that can be made now, of the units that are `mine`; `None` when there is none.
    pub fn next(&self, mine: impl Fn(usize) -> bool) -> Option<&'a Run> {
        let todo = |run: &&Run| mine(run.unit) && matches!(self.status(run), RunStatus::Todo);
        self.plan.cells.iter().find_map(|cell| {
            let probe = cell.points.iter().filter_map(|point| point.probe.as_ref()).find(todo);
            probe.or_else(|| self.chosen(cell)?.reported.iter().find(todo))
        })
    }

    /// How many runs of the units that are `mine` are still to be made, those under way included.
    pub fn left(&self, mine: impl Fn(usize) -> bool) -> usize {
        self.open(mine).len()
    }

    /// The runs of the units that are `mine` which are still to be made, those under way included. Before
    /// hyper-parameters are chosen, the runs of the first ones stand for those of the chosen ones.
    pub fn open(&self, mine: impl Fn(usize) -> bool) -> Vec<&'a Run> {
        let open =
            |run: &Run| mine(run.unit) && matches!(self.status(run), RunStatus::Todo | RunStatus::Running);
        let of = |cell: &'a Cell| {
            let probes = cell.points.iter().filter_map(|point| point.probe.as_ref());
            let mut runs: Vec<&Run> = probes.filter(|run| open(run)).collect();
            let chosen = self.chosen(cell).or((!runs.is_empty()).then_some(&cell.points[0]));
            for run in chosen.iter().flat_map(|point| &point.reported).filter(|run| open(run)) {
                if runs.iter().all(|other| other.folder != run.folder) {
                    runs.push(run);
                }
            }
            runs
        };
        self.plan.cells.iter().flat_map(of).collect()
    }

    /// The runs that failed, with the reason.
    pub fn failures(&self) -> Vec<(&'a Run, &Failure)> {
        let failure = |run: &'a Run| match self.status(run) {
            RunStatus::Failed(failure) => Some((run, failure)),
            _ => None,
        };
        self.plan.runs().filter_map(failure).collect()
    }

    /// The results of all finished runs.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.plan.runs().filter_map(|run| self.done(run))
    }

    /// Accuracy of a task, over the seeds that are finished; `None` while there are none.
    pub fn task(&self, task: usize, column: usize) -> Option<Accuracy> {
        let result = self.result(self.plan.cell(task, column))?;
        Accuracy::of(&result.top1().into_iter().flatten().collect::<Vec<_>>())
    }

    /// Mean accuracy over the tasks of a group; `None` until all of them are finished. The deviation is that of the
    /// means of each seed.
    pub fn group(&self, group: &str, column: usize) -> Option<Accuracy> {
        Accuracy::of(&self.group_by_seed(Some(group), column)?)
    }

    /// Mean of the groups' mean accuracies, or of the tasks' accuracies if some tasks are in no group; `None` until all
    /// of them are finished.
    pub fn mean(&self, column: usize) -> Option<Accuracy> {
        let groups = self.plan.groups();
        if !self.plan.in_groups() {
            return Accuracy::of(&self.group_by_seed(None, column)?);
        }
        let means = groups.iter().map(|group| self.group_by_seed(Some(group), column));
        Accuracy::of(&mean_of(&means.collect::<Option<Vec<_>>>()?))
    }

    /// The mean accuracy over the tasks of a group, or over all tasks, for each seed.
    fn group_by_seed(&self, group: Option<&str>, column: usize) -> Option<Vec<f64>> {
        let of_group = |task: &usize| group.is_none() || self.plan.tasks[*task].group.as_deref() == group;
        let tasks = (0..self.plan.tasks.len()).filter(of_group);
        let seeds = |task| -> Option<Vec<f64>> {
            self.result(self.plan.cell(task, column))?.top1().into_iter().collect()
        };
        Some(mean_of(&tasks.map(seeds).collect::<Option<Vec<_>>>()?))
    }

    /// Refuses results that were made with different backbones although their configs name the same. `now` says the
    /// hash of the backbone that a run would use today.
    ///
    /// # Errors
    /// A backbone mismatch, or an error from `now`.
    pub fn check_backbones(&self, now: Option<BackboneHash>) -> Result<()> {
        let mut seen: HashMap<_, (String, String)> = HashMap::new();
        for run in self.plan.runs().filter(|run| run.config.model.is_none()) {
            let TrainConfig { backbone, weights, .. } = &run.config;
            let key = (backbone, weights);
            if let (Some(now), false) = (now, seen.contains_key(&key)) {
                let name =
                    backbone.as_ref().map_or(BUILTIN_BACKBONE.into(), |path| path.display().to_string());
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

    /// How many runs are missing for good: those that failed, except with hyper-parameters that diverged and were not
    /// chosen.
    pub fn problems(&self) -> usize {
        let of = |cell: &'a Cell| {
            let failed = |run: &&Run| matches!(self.status(run), RunStatus::Failed(_));
            match self.chosen(cell) {
                Some(point) => point.reported.iter().filter(failed).count(),
                None => cell.runs().filter(failed).count(),
            }
        };
        self.plan.cells.iter().map(of).sum()
    }

    /// Whether a task and a method have no result because the loss diverged.
    pub fn diverged(&self, cell: &'a Cell) -> bool {
        let diverged = |run: &Run| matches!(self.status(run), RunStatus::Failed(failure) if failure.diverged);
        match self.chosen(cell) {
            Some(point) => point.reported.iter().any(diverged),
            None => cell.points.iter().filter_map(|point| point.probe.as_ref()).all(diverged),
        }
    }
}

impl CellResult<'_> {
    /// Top-1 accuracy of each seed, in percent; `None` while a run is not finished.
    pub fn top1(&self) -> Vec<Option<f64>> {
        self.outcomes.iter().map(|outcome| Some(100.0 * outcome.as_ref()?.score()?.value)).collect()
    }
}

impl Accuracy {
    /// Mean and deviation of accuracies in percent; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        (!values.is_empty()).then_some(Accuracy { mean, deviation })
    }
}

/// The mean of each column over rows of equal length.
fn mean_of(rows: &[Vec<f64>]) -> Vec<f64> {
    let seeds = rows.first().map_or(0, Vec::len);
    (0..seeds).map(|seed| rows.iter().map(|row| row[seed]).sum::<f64>() / rows.len() as f64).collect()
}

/// Marks the folder of a run whose loss diverged, so that it is not made again.
///
/// # Errors
/// When the folder cannot be written.
pub fn mark_diverged(folder: &Path, message: &str) -> Result<()> {
    let path = folder.join(DIVERGED);
    std::fs::write(&path, message).map_err(|e| Error::io(&path, "write", &e))
}

/// Reads how far a run is from its folder below that of the sweep.
fn read(run: &Run, sweep: &Path) -> Result<RunStatus> {
    let folder = sweep.join(&run.folder);
    let config = folder.join("config.toml");
    if !config.is_file() {
        return Ok(RunStatus::Todo);
    }
    let config = read_config(&config)?;
    if !run.is_like(&config) {
        let difference = difference(&comparable(&config), &comparable(&run.config)).unwrap_or_default();
        let what = format!("was made with other settings than the sweep's ({difference})");
        return Err(Error::path(&folder, what, "remove the folder, or choose another --out"));
    }
    if let Some(outcome) = Outcome::read(&folder)? {
        return Ok(RunStatus::Done(Box::new(outcome)));
    }
    let mark = folder.join(DIVERGED);
    if !mark.exists() {
        return Ok(RunStatus::Todo);
    }
    check_place(&mark)?;
    let message = read_settings(&mark).map_err(|e| Error::io(&mark, "read", &e))?;
    Ok(RunStatus::Failed(Failure { diverged: true, message }))
}
