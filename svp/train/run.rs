//! The training loop: a session in a run folder.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::Device;

use super::class_weights::ClassFactors;
use super::config::TrainConfig;
use super::config_file::{Moved, resuming, write_config};
use super::evaluate::{Evaluation, evaluate};
use super::feed::{Feed, FeedBatch};
use super::inputs::Inputs;
use super::kept::Kept;
use super::log::{Log, LoggedStep};
use super::lr_range::{Rate, found_rate};
use super::outcome::{Noisy, Outcome, Throughput};
use super::prepare::{Prepared, prepare};
use super::resume::{self, Resumed};
use super::setup::{self, Feeds};
use super::state::{Best, Position, Saveable, TrainedFile, save_average, save_best, save_last};
use super::stepper::{Health, Stepper, Submitted};
use super::trained::Trained;
use crate::checkpoint::write_atomically;
use crate::data::text::shown;
use crate::mapping::assign;
use crate::model::Model;
use crate::report::{Place, Record, RunDir, Show, curves, read_metrics};
use crate::score::{Measure, Score};
use crate::{Error, Result};

/// Longest time between saves, so that a killed run loses little work.
const SAVE_PERIOD: Duration = Duration::from_secs(60);

/// Where a session computes, what it shows, and how it is asked to stop.
#[derive(Clone)]
pub struct Surroundings<'a> {
    /// The device that computes.
    pub device: Device,
    /// Flag that selects the same device in the command that resumes the run, with a space before it.
    pub device_flag: String,
    /// How much is printed to the console.
    pub show: Show,
    /// Returns true once a signal has asked the run to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// A run that is ready to train.
pub struct Session<'a> {
    feeds: Feeds,
    training: Training<'a>,
}

/// Everything of a run except its data.
struct Training<'a> {
    config: TrainConfig,
    device: Device,
    device_flag: String,
    model: Model,
    trained: Trained,
    stepper: Stepper,
    /// Submitted steps that are not finished, oldest first.
    waiting: VecDeque<Waiting>,
    position: Position,
    log: Log,
    stop: &'a dyn Fn() -> bool,
    inputs: Inputs,
    began: Instant,
    kept: Kept,
    /// Time of the last save, and the steps done by then.
    saved: (Instant, u64),
    /// Time when the last step finished.
    clock: Instant,
    throughput: Throughput,
}

/// A submitted step.
struct Waiting {
    submitted: Submitted,
    batches: Vec<FeedBatch>,
    lr: f64,
    /// Time spent waiting for its data.
    waited: Duration,
}

impl<'a> Session<'a> {
    /// Starts a run in the folder at `place`, which is made once model and data are loaded, and told. The run's config
    /// names its inputs by absolute paths, so that it can be used from anywhere.
    ///
    /// # Errors
    /// Those of [`prepare`], and a folder that holds a run, is in use or cannot be written.
    pub fn start(
        config: TrainConfig,
        place: &Place,
        tell: &dyn Fn(&str),
        around: Surroundings<'a>,
    ) -> Result<Self> {
        let config = config.with_absolute_paths()?;
        let prepared = prepare(&config, &around.device, None, around.stop)?;
        if place.is_inside(&config.data) {
            let what = "is the data set's: a run folder in it would be read as data";
            return Err(Error::path(&config.data, what, "give a folder elsewhere with --out"));
        }
        let run = RunDir::create_at(place)?;
        tell(&format!("run folder: {}", run.path().display()));
        // One name a line, whatever a name holds.
        let classes: String = prepared.data.classes.iter().map(|name| format!("{}\n", shown(name))).collect();
        write_atomically(&run.classes(), |file| std::io::Write::write_all(file, classes.as_bytes()))?;
        // The config is written last, because a folder that has one can be resumed.
        write_config(&run, &config)?;
        Self::open(config, prepared, run, None, around)
    }

    /// Continues the run in `folder` from its last save.
    ///
    /// # Errors
    /// A folder that holds no run or is in use, inputs that are not those the run began with, files that are missing,
    /// damaged or of another run, and those of [`prepare`].
    pub fn resume(folder: &Path, moved: Moved, around: Surroundings<'a>) -> Result<Self> {
        let Resumed { config, prepared, run, saved } = resume::open(folder, moved, &around)?;
        Self::open(config, prepared, run, saved, around)
    }

    fn open(
        mut config: TrainConfig,
        prepared: Prepared,
        run: RunDir,
        saved: Option<TrainedFile>,
        around: Surroundings<'a>,
    ) -> Result<Self> {
        let Surroundings { device, device_flag, show, stop } = around;
        let Prepared { mut model, trained, data, backbone_files, mut notes } = prepared;
        let began = Instant::now();
        let inputs = Inputs::new(&data, backbone_files);
        let mut stepper = Stepper::new(&model, config.step_settings());
        stepper.weights = setup::class_weights(&config, &data);
        notes.extend(stepper.weights.as_ref().map(ClassFactors::describe));
        let mut position = Position::default();
        if let Some(saved) = saved {
            saved.restore(&device, &mut model.params)?;
            saved.restore_optimizer(&device, &model.params, &mut stepper.optimizer)?;
            if let Some(average) = &mut stepper.average {
                saved.restore_average(&device, &model.params, average)?;
            }
            position = saved.position;
        }
        let hint = format!("continue with `{}`", resuming(run.path(), &device_flag));
        let done = position.step;
        let told = |e| match e {
            Error::Interrupted { .. } => Error::Interrupted { step: done, hint: hint.clone() },
            other => other,
        };
        let feeds = setup::feeds(&config, &model, &data, stop).map_err(told)?;
        let kept = Kept::new(&read_metrics(&run.metrics())?, &position).in_folder(&run);
        let total = u64::from(config.epochs) * config.steps_per_epoch(feeds.train.batches()) as u64;
        let mut log = Log::open(run, total, position.step, show, &notes)?;
        log.broken(&feeds.broken());
        if config.lr == Rate::Auto {
            let weights = stepper.weights.clone();
            let found = found_rate(&config, weights, &mut model, &feeds.train, &mut log, stop);
            config.lr = Rate::At(found.map_err(told)?);
            write_config(&log.run, &config)?;
        }
        let throughput = Throughput::default();
        let (now, step) = (Instant::now(), position.step);
        let training = Training {
            config,
            device,
            device_flag,
            model,
            trained,
            stepper,
            waiting: VecDeque::new(),
            position,
            log,
            stop,
            inputs,
            began,
            kept,
            saved: (now, step),
            clock: now,
            throughput,
        };
        Ok(Session { feeds, training })
    }

    /// The settings of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.training.config
    }

    /// Trains to the end, or until patience is over, tests the chosen epoch once and writes the report.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after a stop, [`Error::Diverged`] at a step that is not finite, [`Error::Lost`] when the
    /// device is lost, and files that cannot be read or written.
    pub fn run(self) -> Result<Outcome> {
        let Session { feeds, mut training } = self;
        while training.goes_on() {
            training.epoch(&feeds).map_err(|e| training.explain(e))?;
        }
        training.finish(&feeds)
    }
}

impl Training<'_> {
    /// Whether there is an epoch to make.
    fn goes_on(&mut self) -> bool {
        let (position, config) = (&self.position, &self.config);
        if position.epoch < config.epochs && config.out_of_patience(position) {
            let (epoch, patience) = (position.epoch, config.patience);
            self.log
                .progress
                .line(&format!("ended after epoch {epoch}: no better score in {patience} epochs"));
            return false;
        }
        position.epoch < config.epochs
    }

    fn epoch(&mut self, feeds: &Feeds) -> Result<()> {
        let begun = Instant::now();
        self.steps(feeds)?;
        let epoch = self.position.epoch + 1;
        let steps = self.config.steps_per_epoch(feeds.train.batches());
        let train_loss = self.position.loss_sum() / steps as f64;
        let found = match &feeds.val {
            Some(val) => match evaluate(&self.model, val, self.trained.classes.len(), self.stop)? {
                None => return Err(self.interrupted()?),
                found => found,
            },
            None => None,
        };
        self.log.broken(&feeds.broken());
        self.check_inputs()?;
        let before = self.position.best;
        let score = found.as_ref().map(|found| found.score(self.model.head.measure()));
        let value = |score: Option<Score>| score.map(|score| score.value);
        // Where no split selects, each epoch replaces the one before.
        let stays = |best: &Best| score.is_some() && value(best.score) >= value(score);
        let best = before.filter(stays).unwrap_or(Best { epoch, score });
        let (seconds, on) = (begun.elapsed().as_secs_f32(), self.config.selects_on());
        let record = Record::Epoch {
            step: self.position.step,
            epoch: u64::from(epoch),
            train_loss: train_loss as f32,
            val_loss: found.as_ref().map(|found| found.loss as f32),
            val_top1: found.as_ref().map(|found| found.top1 as f32),
            val_top5: found.as_ref().map(|found| found.top5 as f32),
            seconds,
        };
        self.log.record(record, on)?;
        self.position = Position { step: self.position.step, epoch, best: Some(best), ..Position::default() };
        if before != Some(best) {
            save_best(&self.log.run.best(), &self.model.params, &self.trained, &self.position)?;
        }
        let mut kept = self.kept;
        kept.save_epoch(&self.log.run, self.saveable(), train_loss)?;
        self.kept = kept;
        self.saved = (Instant::now(), self.position.step);
        self.log.epoch([epoch, self.config.epochs], train_loss, on, score, best, seconds);
        Ok(())
    }

    /// Makes the remaining steps of the epoch under way.
    fn steps(&mut self, feeds: &Feeds) -> Result<()> {
        let (epoch, first, each) = (self.position.epoch, self.position.batch, self.config.accumulate);
        // Before the first epoch it was done already; in the middle of one, the saved state has what was found.
        if let Some(counted) = feeds.counted.as_ref().filter(|_| epoch > 0 && first == 0)
            && !assign(&mut self.model, counted, self.stop)?
        {
            return Err(self.interrupted()?);
        }
        let lr = self.config.schedule().epoch(epoch);
        let steps = self.config.steps_per_epoch(feeds.train.batches());
        let mut feed = feeds.train.epoch(epoch, first * each);
        // A device with its own queue always has the next step waiting in it.
        let ahead = usize::from(self.device.launcher().is_some());
        self.clock = Instant::now();
        for _ in first..steps {
            let asked = Instant::now();
            let batches = feed.by_ref().take(each).collect::<Result<Vec<_>>>()?;
            let waited = asked.elapsed();
            let submitted = self.stepper.submit(&mut self.model, &batches, epoch, lr)?;
            self.waiting.push_back(Waiting { submitted, batches, lr, waited });
            self.settle(ahead)?;
            let submitted = self.position.step + self.waiting.len() as u64;
            let asked_to = self.config.save_every > 0 && submitted.is_multiple_of(self.config.save_every);
            let stop = (self.stop)();
            if stop || asked_to || self.saved.0.elapsed() > SAVE_PERIOD {
                self.settle(0)?;
                if stop {
                    return Err(self.interrupted()?);
                }
                self.save()?;
                self.clock = Instant::now();
            }
        }
        self.settle(0)
    }

    /// Waits until at most `ahead` submitted steps are unfinished.
    fn settle(&mut self, ahead: usize) -> Result<()> {
        while self.waiting.len() > ahead {
            let Waiting { submitted, batches, lr, waited } = self.waiting.pop_front().expect("not empty");
            let health = submitted.wait()?;
            if !health.finite {
                return Err(self.diverged(&batches, health));
            }
            self.position.step += 1;
            self.position.batch += 1;
            self.position.add_loss(health.loss);
            if self.position.step == 1 {
                self.kept.began(health.loss);
            }
            let busy = self.clock.elapsed();
            self.clock = Instant::now();
            let images = batches.iter().map(|batch| batch.labels.images() as u64).sum();
            self.throughput.images += images;
            self.throughput.busy += busy;
            self.throughput.waited += waited;
            self.log.step(&LoggedStep {
                step: self.position.step,
                epoch: self.position.epoch,
                epochs: self.config.epochs,
                images,
                loss: health.loss,
                lr,
                waited,
                busy,
            })?;
        }
        Ok(())
    }

    /// Names the first tensor that is not finite, goes back to the last sound state and keeps the one before the step
    /// beside it. Steps submitted after it have changed nothing.
    fn diverged(&mut self, batches: &[FeedBatch], health: Health) -> Error {
        self.waiting.clear();
        let what = self.stepper.find_fault(&self.model, batches, self.position.epoch);
        let run = &self.log.run;
        // Written first, as it also says that the run has diverged, where going back leaves no state.
        let (lr, aside) = (self.config.lr.value() as f32 / 10.0, run.diverged());
        let kept = match save_last(&aside, self.saveable()) {
            Ok(()) => format!("the state before this step, which may be spoilt, is in {}", aside.display()),
            Err(e) => format!("the state before this step could not be kept: {e}"),
        };
        let from = match self.kept.go_back(run) {
            Ok(0) => "begin again".into(),
            Ok(epoch) => format!("go on from the end of epoch {epoch}"),
            Err(e) => format!("{e}; go on"),
        };
        let hint = format!("{from} at a lower rate with `{} --lr {lr:e}`; {kept}", self.resuming());
        Error::Diverged { step: self.position.step + 1, loss: health.loss, what, hint }
    }

    /// Adds the command that resumes the run to the error of a lost device.
    fn explain(&self, error: Error) -> Error {
        match error {
            Error::Engine(lost @ engine::Error::Lost { .. }) => {
                let (step, how) = (self.saved.1, self.resuming());
                let hint = format!("step {step} was saved last: continue with `{how}`");
                Error::Lost { what: lost.to_string(), hint }
            }
            other => other,
        }
    }

    fn interrupted(&mut self) -> Result<Error> {
        self.save()?;
        let hint = format!("continue with `{}`", self.resuming());
        Ok(Error::Interrupted { step: self.position.step, hint })
    }

    fn resuming(&self) -> String {
        resuming(self.log.run.path(), &self.device_flag)
    }

    /// Ends the run at the first sign that the data were changed: its last save is from before. Tells of another file in
    /// the backbone's place, which changes nothing now.
    fn check_inputs(&mut self) -> Result<()> {
        if let Some(line) = self.inputs.changed_backbone() {
            self.log.progress.line(&line);
        }
        let how = match self.saved.1 {
            0 => format!("begin again with `{}`", self.resuming()),
            step => format!("step {step} was saved before: continue with `{}`", self.resuming()),
        };
        self.inputs.check_data(&how)
    }

    fn saveable(&self) -> Saveable<'_> {
        Saveable {
            params: &self.model.params,
            optimizer: &self.stepper.optimizer,
            average: self.stepper.average.as_ref(),
            trained: &self.trained,
            position: &self.position,
            data: &self.inputs.fingerprint,
        }
    }

    /// Saves the state, unless it may come from other data than those the run began with.
    fn save(&mut self) -> Result<()> {
        self.check_inputs()?;
        let mut kept = self.kept;
        kept.save(&self.log.run, self.saveable())?;
        self.kept = kept;
        self.saved = (Instant::now(), self.position.step);
        Ok(())
    }

    /// Tests the chosen epoch once, and writes the report and the curves.
    fn finish(mut self, feeds: &Feeds) -> Result<Outcome> {
        if let Some(average) = &self.stepper.average {
            let (path, params) = (self.log.run.ema(), &self.model.params);
            save_average(&path, params, average, &self.trained, &self.position)?;
        }
        let chosen = TrainedFile::open(&self.log.run.best())?;
        chosen.restore(&self.device, &mut self.model.params)?;
        let test = match &feeds.test {
            Some(test) => match evaluate(&self.model, test, self.trained.classes.len(), self.stop)? {
                Some(found) => Some(found),
                None => return Err(self.interrupted_at_the_end()),
            },
            None => None,
        };
        let noisy = self.noisy(feeds)?;
        self.check_inputs()?;
        let records = read_metrics(&self.log.run.metrics())?;
        let last = records.iter().rev().find_map(|record| match record {
            Record::Epoch { val_top1, .. } => Some(*val_top1),
            _ => None,
        });
        let mut outcome = Outcome::new(
            &self.config,
            &self.model,
            &self.trained,
            &self.position,
            feeds,
            test,
            self.throughput,
            self.began,
            &self.device,
        );
        outcome.folder = self.log.run.path().into();
        outcome.noisy = noisy;
        outcome.last = last.flatten().map(|value| Score { measure: Measure::Top1, value: f64::from(value) });
        if let Some(test) = &outcome.test {
            let record = Record::Final {
                step: self.position.step,
                best_epoch: u64::from(outcome.best_epoch),
                test_loss: test.loss as f32,
                test_top1: test.top1 as f32,
                test_top5: test.top5 as f32,
                seconds: self.began.elapsed().as_secs_f32(),
            };
            self.log.record(record, None)?;
        }
        self.log.broken(&outcome.broken_images);
        outcome.write(&self.log.run.report())?;
        let picture = curves(&records);
        write_atomically(&self.log.run.curves(), |file| std::io::Write::write_all(file, &picture))?;
        self.log.progress.finish();
        Ok(outcome)
    }

    /// Tests with noise, at every rate of the config.
    fn noisy(&self, feeds: &Feeds) -> Result<Vec<Noisy>> {
        let (form, classes) = (self.config.noise_form, self.trained.classes.len());
        let test = |(rate, feed): &(f64, Feed)| match evaluate(&self.model, feed, classes, self.stop)? {
            Some(Evaluation { loss, top1, top5, .. }) => Ok(Noisy { rate: *rate, form, loss, top1, top5 }),
            None => Err(self.interrupted_at_the_end()),
        };
        feeds.noisy.iter().map(test).collect()
    }

    /// The error of a stop during the test, when training is done and saved.
    fn interrupted_at_the_end(&self) -> Error {
        let hint = format!("test with `{}`", self.resuming());
        Error::Interrupted { step: self.position.step, hint }
    }
}
