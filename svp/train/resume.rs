//! A run that goes on: what is in its folder is checked before anything is computed or changed.

use std::path::Path;

use super::config::TrainConfig;
use super::config_file::{Moved, lengthened, read_config, write_config};
use super::kept;
use super::prepare::{Prepared, prepare};
use super::run::Surroundings;
use super::state::{Position, TrainedFile};
use super::trained::Trained;
use crate::params::Params;
use crate::report::{Record, RunDir, metrics, read_metrics};
use crate::{Error, Result};

/// A run that can go on.
pub(super) struct Resumed {
    pub config: TrainConfig,
    pub prepared: Prepared,
    pub run: RunDir,
    /// Its newest state; `None` before the first save.
    pub saved: Option<TrainedFile>,
}

/// What to do about a state that does not belong where it is.
const PUT_BACK: &str = "put the run's own file back, or start a new run";

/// Opens the run in `folder`, loads its model and data, and checks that its files belong together.
///
/// # Errors
/// A folder that holds no run or is in use, inputs that are not those the run began with, files that are missing,
/// damaged or of another run, and those of [`prepare`].
pub(super) fn open(folder: &Path, moved: Moved, around: &Surroundings) -> Result<Resumed> {
    let run = RunDir::resume(folder)?;
    kept::recover(&run)?;
    let was = read_config(&run.config())?;
    let config = moved.apply(&was).with_absolute_paths()?;
    config.check_places()?;
    let last = run.last();
    let saved = if last.exists() { Some(TrainedFile::open(&last)?) } else { None };
    if saved.is_none() {
        check_not_begun(&run)?;
    }
    let known = saved.as_ref().map(|saved| &saved.trained.method);
    let known = known.filter(|known| known.entry.name == config.method.entry.name);
    let settings = known.map(|known| &known.settings);
    let position = saved.as_ref().map(|saved| saved.position.clone()).unwrap_or_default();
    let longer = lengthened(run.path(), &was, &config, &position)?;
    let mut prepared = prepare(&config, &around.device, settings, around.stop)?;
    let Prepared { trained, model, data, .. } = &prepared;
    if saved.as_ref().is_some_and(|saved| saved.trained != *trained) {
        let what = "backbone, data or settings are not those the run began with";
        return Err(Error::path(&last, what, "put them back, or start a new run"));
    }
    if saved.as_ref().is_some_and(|saved| saved.data() != Some(&data.fingerprint())) {
        let what = "the data set is not the one the run began with";
        return Err(Error::path(&last, what, "put the data back, or start a new run"));
    }
    check_position(&last, &position, &config, data.train.len())?;
    check_best(&run, &position, trained, &model.params)?;
    check_sound(&run, &position, trained)?;
    metrics::truncate_after(&run.metrics(), position.step, u64::from(position.epoch))?;
    prepared.notes.extend(missing_records(&run, position.step)?);
    if longer.is_some() {
        run.set_report_aside(was.epochs)?;
    }
    prepared.notes.extend(longer);
    if config != was {
        write_config(&run, &config)?;
    }
    Ok(Resumed { config, prepared, run, saved })
}

/// Refuses a run without a state that must have had one: beginning again would overwrite what it has made. A run that has
/// diverged before its first sound epoch begins again.
fn check_not_begun(run: &RunDir) -> Result<()> {
    let later = |record: &Record| matches!(record, Record::Epoch { epoch, .. } if *epoch > 1);
    let had_one = run.report().exists() || read_metrics(&run.metrics())?.iter().any(later);
    if !had_one || run.diverged().exists() {
        return Ok(());
    }
    let hint = "put it back; to begin again, start a new run with another --out";
    Err(Error::path(&run.last(), "is not there, and the run had saved its state", hint))
}

/// Checks that a state can be one of this run, whose training images are so many.
fn check_position(last: &Path, position: &Position, config: &TrainConfig, images: usize) -> Result<()> {
    let &Position { step, epoch, batch, best, .. } = position;
    let each = config.steps_per_epoch(images / config.batch_size) as u64;
    let whole = u64::from(epoch).checked_mul(each).and_then(|steps| steps.checked_add(batch as u64));
    let ended = epoch > config.epochs || (epoch == config.epochs && batch > 0);
    let chosen = match best {
        None => epoch == 0,
        Some(best) => {
            (1..=epoch).contains(&best.epoch) && best.score.is_some() == config.selects_on().is_some()
        }
    };
    if whole == Some(step) && batch as u64 <= each && !ended && chosen && position.loss_sum().is_finite() {
        return Ok(());
    }
    let what = format!("its position (step {step}, {epoch} epochs done) is none of this run");
    Err(Error::path(last, what, PUT_BACK))
}

/// Checks that the trained file is that of the epoch that a state has chosen. It can be of a later epoch, if the run was
/// killed or went back after it had written it; then it is written again.
fn check_best(run: &RunDir, position: &Position, trained: &Trained, params: &Params) -> Result<()> {
    if position.best.is_none() {
        return Ok(());
    }
    let file = TrainedFile::open(&run.best())?;
    let later = file.position.epoch > position.epoch;
    if file.trained != *trained || (file.position.best != position.best && !later) {
        return Err(Error::path(&run.best(), "is not of this run", PUT_BACK));
    }
    file.check(params)
}

/// Checks the state that the run would go back to.
fn check_sound(run: &RunDir, position: &Position, trained: &Trained) -> Result<()> {
    let path = run.sound();
    if !path.exists() {
        return Ok(());
    }
    let hint = "remove it: the run can go on without it";
    match TrainedFile::open(&path) {
        Ok(file) if file.trained == *trained && file.position.step <= position.step => Ok(()),
        Ok(_) => Err(Error::path(&path, "is not of this run", hint)),
        Err(Error::Input { at, what, .. }) => Err(Error::input(at, what, hint)),
        Err(e) => Err(e),
    }
}

/// A line about steps before `step` whose records are lost.
fn missing_records(run: &RunDir, step: u64) -> Result<Option<String>> {
    let last = read_metrics(&run.metrics())?.iter().map(Record::step).max().unwrap_or(0);
    Ok((last < step).then(|| {
        format!(
            "metrics.jsonl ends at step {last}, the state is that of step {step}: the curves lack what is between"
        )
    }))
}
