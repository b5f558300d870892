//! The state that a run goes back to when its loss stops being finite.
//!
//! The state just before such a step may be spoilt already: its weights have run away, and overflow only one step later.
//! So the state at the end of the last sound epoch stays on disk: as `last.safetensors`, and as `sound.safetensors` while
//! `last.safetensors` is a state in the middle of an epoch, or after one that is not sound.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::state::{Position, Saveable, TrainedFile, save_last};
use crate::report::{Record, RunDir};
use crate::{Error, Result};

/// What is known of the states of a run.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    /// The least loss so far: that of the first step, or the mean one of an epoch.
    least: f64,
    /// Whether `last.safetensors` is the state at the end of a sound epoch.
    sound: bool,
    /// The step of `diverged.safetensors`, if there is one.
    diverged: Option<u64>,
}

impl Kept {
    /// What is known of a run that stands at `position`, from its metrics up to there.
    pub fn new(records: &[Record], position: &Position) -> Self {
        let mut kept = Kept { least: f64::INFINITY, sound: false, diverged: None };
        for record in records {
            match *record {
                Record::Step { step: 1, loss, .. } => kept.began(loss),
                Record::Epoch { train_loss, .. } => kept.sound = kept.is_sound(f64::from(train_loss)),
                _ => {}
            }
        }
        kept.sound = (kept.sound || position.improved()) && position.epoch > 0 && position.batch == 0;
        kept
    }

    /// The same in a run's folder, whose `diverged.safetensors` goes once the run has come beyond it.
    pub fn in_folder(self, run: &RunDir) -> Self {
        let diverged = run.diverged().exists().then(|| TrainedFile::open(&run.diverged()).ok()).flatten();
        Kept { diverged: diverged.map(|file| file.position.step), ..self }
    }

    /// Notes the loss of the first step, which is that of the initial values.
    pub fn began(&mut self, loss: f32) {
        self.least = self.least.min(f64::from(loss));
    }

    /// Whether an epoch of this mean loss has left its weights sound: it is at most twice the least loss so far, and a
    /// nat. Weights that run away give losses far above that.
    fn is_sound(&mut self, loss: f64) -> bool {
        let sound = loss <= 2.0 * self.least + 1.0;
        self.least = self.least.min(loss);
        sound
    }

    /// Saves the state at the end of an epoch of this mean loss. An epoch that has improved the score is sound whatever
    /// its loss.
    pub fn save_epoch(&mut self, run: &RunDir, state: Saveable, loss: f64) -> Result<()> {
        let sound = self.is_sound(loss) || state.position.improved();
        let beyond = sound && self.diverged.is_some_and(|step| state.position.step > step);
        self.replace(run, state, sound)?;
        if beyond {
            remove(&run.diverged())?;
            self.diverged = None;
        }
        if sound { remove(&run.sound()) } else { Ok(()) }
    }

    /// Saves the state at any other moment.
    pub fn save(&mut self, run: &RunDir, state: Saveable) -> Result<()> {
        // Before the first step of an epoch, it is still that at the end of the one before.
        let sound = self.sound && state.position.batch == 0;
        self.replace(run, state, sound)
    }

    fn replace(&mut self, run: &RunDir, state: Saveable, sound: bool) -> Result<()> {
        if self.sound && !sound {
            rename(&run.last(), &run.sound())?;
        }
        self.sound = sound;
        save_last(&run.last(), state)
    }

    /// Makes `last.safetensors` the state at the end of the last sound epoch, or removes it where there is none. Returns
    /// how many epochs are done by then.
    pub fn go_back(&self, run: &RunDir) -> Result<u32> {
        if !self.sound {
            remove(&run.last())?;
            recover(run)?;
        }
        Ok(if run.last().exists() { TrainedFile::open(&run.last())?.position.epoch } else { 0 })
    }
}

/// Takes the state of the last sound epoch where there is no other, as after a kill in between.
pub(super) fn recover(run: &RunDir) -> Result<()> {
    if run.last().exists() || !run.sound().exists() { Ok(()) } else { rename(&run.sound(), &run.last()) }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io(from, "rename", &e))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(path, "remove", &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{Measure, Score};
    use crate::train::state::Best;

    fn step(loss: f32) -> Record {
        Record::Step { step: 1, epoch: 1, loss, lr: 1e-3, images_per_s: 1.0, wait_share: 0.0 }
    }

    fn epoch(train_loss: f32) -> Record {
        let (val_loss, val_top1, val_top5) = (None, None, None);
        Record::Epoch { step: 5, epoch: 1, train_loss, val_loss, val_top1, val_top5, seconds: 1.0 }
    }

    /// Whether the state is sound after epochs of these losses, of which number `best` had the best score.
    fn sound(first: f32, losses: &[f32], best: u32) -> bool {
        let records: Vec<Record> =
            [step(first)].into_iter().chain(losses.iter().map(|&loss| epoch(loss))).collect();
        let score = Some(Score { measure: Measure::Top1, value: 0.5 });
        let best = Some(Best { epoch: best, score });
        Kept::new(&records, &Position { epoch: losses.len() as u32, best, ..Position::default() }).sound
    }

    #[test]
    fn a_loss_that_runs_away_is_not_sound() {
        assert!(sound(2.3, &[1.8, 0.9, 1.1], 1));
        assert!(sound(2.3, &[1.8, 0.01, 0.9], 1), "small losses may rise by more than twice");
        assert!(!sound(2.3, &[50.0], 1), "the first epoch is always the best so far");
        assert!(!sound(2.3, &[1.8, 3e4], 1) && !sound(2.3, &[1.8, f32::NAN], 1));
        assert!(!sound(2.3, &[1.8, 20.0, 30.0], 1), "one that is not sound is no measure for the next");
        assert!(sound(2.3, &[1.8, 20.0], 2), "it has improved the score");
        assert!(sound(9.0, &[15.0], 1), "the initial values may be far off");
    }

    #[test]
    fn a_state_in_the_middle_of_an_epoch_is_not_sound() {
        let records = [step(2.3), epoch(1.8)];
        let at = |epoch, batch| Kept::new(&records, &Position { epoch, batch, ..Position::default() }).sound;
        assert!(at(1, 0) && !at(1, 1));
        assert!(!Kept::new(&[], &Position::default()).sound, "a run that has not begun has no state");
    }
}
