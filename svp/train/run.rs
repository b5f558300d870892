//! The training loop: a session in a run folder.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::Device;

use super::outcome::Outcome;
use super::setup::{self, Feeds};
use super::state::{Best, Position, TrainedFile, save_average, save_best, save_last};
use super::{FeedBatch, Health, Stepper, Submitted, TrainConfig, Trained, evaluate};
use crate::checkpoint::write_atomically;
use crate::data::Dataset;
use crate::model::Classifier;
use crate::report::{
    EventWriter, MetricsWriter, Progress, Record, RunDir, Show, StepInfo, curves, metrics, read_metrics,
};
use crate::{Error, Result};

/// Longest time between saves, so that a killed run loses little.
const SAVE_PERIOD: Duration = Duration::from_secs(60);

/// How a session shows itself, and how it is asked to stop.
#[derive(Clone)]
pub struct Surroundings<'a> {
    pub device: Device,
    /// What the command that resumes the run needs to compute on the same device, with a space before it.
    pub device_flag: String,
    pub show: Show,
    /// Says whether a signal asked to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// A run that is set up.
pub struct Session<'a> {
    feeds: Feeds,
    state: State<'a>,
}

/// Everything of a run but its data.
struct State<'a> {
    config: TrainConfig,
    device: Device,
    device_flag: String,
    model: Classifier,
    trained: Trained,
    stepper: Stepper,
    /// Steps on their way, oldest first.
    waiting: VecDeque<Waiting>,
    position: Position,
    out: Output,
    stop: &'a dyn Fn() -> bool,
    fingerprint: String,
    began: Instant,
    /// When the last save was made, and after how many steps.
    saved: (Instant, u64),
    /// When the last step was done.
    clock: Instant,
    throughput: Throughput,
}

/// A step that was submitted.
struct Waiting {
    submitted: Submitted,
    batches: Vec<FeedBatch>,
    lr: f64,
    /// For data.
    waited: Duration,
}

/// Where a run writes.
struct Output {
    run: RunDir,
    metrics: MetricsWriter,
    events: EventWriter,
    progress: Progress,
}

/// Time of this process's training steps.
#[derive(Default, Clone, Copy)]
pub(super) struct Throughput {
    pub images: u64,
    pub busy: Duration,
    pub waited: Duration,
}

/// Model and data of a config, before anything is written.
pub struct Prepared {
    pub model: Classifier,
    pub trained: Trained,
    pub data: Dataset,
    /// Facts for the log, a line each.
    pub notes: Vec<String>,
}

/// Loads the backbone and opens the data.
pub fn prepare(config: &TrainConfig, device: &Device) -> Result<Prepared> {
    config.check()?;
    config.precision.check(device)?;
    let mut loaded = setup::backbone(config)?;
    let data = setup::dataset(config)?;
    setup::check_data(config, &data)?;
    let mut notes = std::mem::take(&mut loaded.notes);
    notes.extend(data.notes.iter().cloned());
    let (model, trained) = setup::classifier(config, device, loaded, &data.classes)?;
    Ok(Prepared { model, trained, data, notes })
}

/// Reads the config of a run folder.
pub fn read_config(path: &Path) -> Result<TrainConfig> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the config", &e))?;
    toml::from_str(&text).map_err(|e| {
        let what = format!("is not a run's config: {}", e.message());
        Error::path(path, what, "start a new run with another --out")
    })
}

fn write_config(run: &RunDir, config: &TrainConfig) -> Result<()> {
    let text = toml::to_string(config).expect("plain values make valid TOML");
    write_atomically(&run.config(), |file| std::io::Write::write_all(file, text.as_bytes()))
}

/// The command that resumes a run on its device.
fn resuming(run: &Path, device_flag: &str) -> String {
    format!("svp-train --resume {}{device_flag}", run.display())
}

/// Where what a run needs lies now, if not where its config says.
#[derive(Default)]
pub struct Moved {
    pub data: Option<PathBuf>,
    pub backbone: Option<PathBuf>,
}

impl Moved {
    fn apply(self, config: &TrainConfig) -> TrainConfig {
        let mut config = config.clone();
        config.data = self.data.unwrap_or(config.data);
        config.backbone = self.backbone.or(config.backbone);
        config
    }
}

impl<'a> Session<'a> {
    /// Starts a run in a new folder.
    pub fn start(config: TrainConfig, out: &Path, around: Surroundings<'a>) -> Result<Self> {
        let prepared = prepare(&config, &around.device)?;
        let run = RunDir::create(out)?;
        let classes = prepared.data.classes.join("\n") + "\n";
        write_atomically(&run.classes(), |file| std::io::Write::write_all(file, classes.as_bytes()))?;
        // The config comes last: with it the folder can be resumed.
        write_config(&run, &config)?;
        Self::open(config, prepared, run, None, around)
    }

    /// Continues the run in a folder where its last save left it.
    pub fn resume(folder: &Path, moved: Moved, around: Surroundings<'a>) -> Result<Self> {
        let run = RunDir::resume(folder)?;
        let was = read_config(&run.config())?;
        let config = moved.apply(&was);
        let prepared = prepare(&config, &around.device)?;
        let last = run.last();
        let saved = if last.exists() { Some(TrainedFile::open(&last)?) } else { None };
        if saved.as_ref().is_some_and(|saved| saved.trained != prepared.trained) {
            let what = "backbone, data or settings are not those the run began with";
            return Err(Error::path(&last, what, "put them back, or start a new run"));
        }
        let (step, epochs) =
            saved.as_ref().map_or((0, 0), |saved| (saved.position.step, saved.position.epoch));
        metrics::truncate_after(&run.metrics(), step, u64::from(epochs))?;
        if config != was {
            write_config(&run, &config)?;
        }
        Self::open(config, prepared, run, saved, around)
    }

    fn open(
        config: TrainConfig,
        prepared: Prepared,
        run: RunDir,
        saved: Option<TrainedFile>,
        around: Surroundings<'a>,
    ) -> Result<Self> {
        let Surroundings { device, device_flag, show, stop } = around;
        let Prepared { mut model, trained, data, notes } = prepared;
        let began = Instant::now();
        let fingerprint = data.fingerprint();
        let mut stepper = Stepper::new(&model, config.step_settings());
        let mut position = Position::default();
        if let Some(saved) = saved {
            saved.restore(&device, &mut model.params)?;
            saved.restore_optimizer(&device, &model.params, &mut stepper.optimizer, &fingerprint)?;
            if let Some(average) = &mut stepper.average {
                saved.restore_average(&device, &model.params, average)?;
            }
            position = saved.position;
        }
        let resuming = || format!("continue with `{}`", resuming(run.path(), &device_flag));
        let feeds = setup::feeds(&config, &model, &data, stop).map_err(|e| match e {
            Error::Interrupted { .. } => Error::Interrupted { step: position.step, hint: resuming() },
            other => other,
        })?;
        let total = u64::from(config.epochs) * config.steps_per_epoch(feeds.train.batches()) as u64;
        let mut progress = Progress::new(total, position.step, show);
        notes.iter().for_each(|note| progress.line(note));
        if position.step > 0 {
            progress.line(&format!("resumed after step {}", position.step));
        }
        let metrics = MetricsWriter::append(&run.metrics())?;
        let events = EventWriter::create(run.path(), position.step)?;
        let out = Output { run, metrics, events, progress };
        let throughput = Throughput::default();
        let (now, step) = (Instant::now(), position.step);
        let state = State {
            config,
            device,
            device_flag,
            model,
            trained,
            stepper,
            waiting: VecDeque::new(),
            position,
            out,
            stop,
            fingerprint,
            began,
            saved: (now, step),
            clock: now,
            throughput,
        };
        Ok(Session { feeds, state })
    }

    /// Trains to the end, tests the chosen epoch once and writes the report.
    pub fn run(self) -> Result<Outcome> {
        let Session { feeds, mut state } = self;
        while state.position.epoch < state.config.epochs {
            state.epoch(&feeds).map_err(|e| state.explain(e))?;
        }
        state.finish(&feeds)
    }
}

impl State<'_> {
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
        let before = self.position.best;
        let top1 = found.as_ref().map(|found| found.top1);
        // Where nothing selects, each epoch takes the place of the one before.
        let best = before.filter(|best| top1.is_some() && best.top1 >= top1).unwrap_or(Best { epoch, top1 });
        let seconds = begun.elapsed().as_secs_f32();
        self.record(Record::Epoch {
            step: self.position.step,
            epoch: u64::from(epoch),
            train_loss: train_loss as f32,
            val_loss: found.as_ref().map(|found| found.loss as f32),
            val_top1: found.as_ref().map(|found| found.top1 as f32),
            val_top5: found.as_ref().map(|found| found.top5 as f32),
            seconds,
        })?;
        self.position = Position { step: self.position.step, epoch, best: Some(best), ..Position::default() };
        if before != Some(best) {
            save_best(&self.out.run.best(), &self.model.params, &self.trained, &self.position)?;
        }
        self.save()?;
        let chosen = match (self.config.selects_on(), top1, best.top1) {
            (Some(on), Some(top1), Some(most)) => {
                let (top1, most) = (100.0 * top1, 100.0 * most);
                format!("  {on} top-1 {top1:.2}%  best {most:.2}% (epoch {})", best.epoch)
            }
            _ => String::new(),
        };
        let epochs = self.config.epochs;
        let line = format!("epoch {epoch}/{epochs}  loss {train_loss:.4}{chosen}  {seconds:.1} s");
        self.out.progress.line(&line);
        Ok(())
    }

    /// The steps of the epoch under way that are not done yet.
    fn steps(&mut self, feeds: &Feeds) -> Result<()> {
        let (epoch, first, each) = (self.position.epoch, self.position.batch, self.config.accumulate);
        let lr = self.config.schedule().epoch(epoch);
        let steps = self.config.steps_per_epoch(feeds.train.batches());
        let mut feed = feeds.train.epoch(epoch, first * each, self.model.vim.config.img_size);
        // A device with its own queue always has the next step in it.
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

    /// Waits until at most `ahead` steps are on their way.
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
            let busy = self.clock.elapsed();
            self.clock = Instant::now();
            let images = batches.iter().map(|batch| batch.labels.len() as u64).sum();
            self.show_step(images, health.loss, lr, waited, busy)?;
        }
        Ok(())
    }

    /// Names the first tensor that is not finite, and saves the state before the step: steps that were submitted
    /// after it have changed nothing.
    fn diverged(&mut self, batches: &[FeedBatch], health: Health) -> Error {
        self.waiting.clear();
        let what = self.stepper.find_fault(&self.model, batches, self.position.epoch);
        let kept = match save_last(&self.out.run.last(), self.saveable()) {
            Ok(()) => format!("the state before this step is kept in {}", self.out.run.last().display()),
            Err(e) => format!("the state could not be kept: {e}"),
        };
        let hint = format!("{kept}; try a lower --lr");
        Error::Diverged { step: self.position.step + 1, loss: health.loss, what, hint }
    }

    /// Says of a device that was lost how to go on.
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
        resuming(self.out.run.path(), &self.device_flag)
    }

    fn saveable(&self) -> super::state::Saveable<'_> {
        super::state::Saveable {
            params: &self.model.params,
            optimizer: &self.stepper.optimizer,
            average: self.stepper.average.as_ref(),
            trained: &self.trained,
            position: &self.position,
            data: &self.fingerprint,
        }
    }

    fn save(&mut self) -> Result<()> {
        save_last(&self.out.run.last(), self.saveable())?;
        self.saved = (Instant::now(), self.position.step);
        Ok(())
    }

    fn show_step(&mut self, images: u64, loss: f32, lr: f64, waited: Duration, busy: Duration) -> Result<()> {
        self.throughput.images += images;
        self.throughput.busy += busy;
        self.throughput.waited += waited;
        let seconds = busy.as_secs_f32().max(1e-9);
        let info = StepInfo {
            step: self.position.step,
            epoch: u64::from(self.position.epoch) + 1,
            epochs: u64::from(self.config.epochs),
            loss,
            lr: lr as f32,
            images_per_s: images as f32 / seconds,
            wait_share: waited.as_secs_f32() / seconds,
        };
        self.out.progress.step(info);
        let StepInfo { step, epoch, lr, images_per_s, wait_share, .. } = info;
        self.record(Record::Step { step, epoch, loss, lr, images_per_s, wait_share })
    }

    /// Writes a record to the metrics file and its numbers to TensorBoard's.
    fn record(&mut self, record: Record) -> Result<()> {
        self.out.metrics.write(&record)?;
        let (step, scalars) = match record {
            Record::Step { step, loss, lr, images_per_s, .. } => (
                step,
                vec![
                    ("train/loss".into(), loss),
                    ("train/lr".into(), lr),
                    ("train/images_per_s".into(), images_per_s),
                ],
            ),
            Record::Epoch { step, val_loss, val_top1, val_top5, .. } => {
                let on = self.config.selects_on();
                let values = [("loss", val_loss), ("top1", val_top1), ("top5", val_top5)];
                let scalar = |(name, value): (&str, Option<f32>)| Some((format!("{}/{name}", on?), value?));
                (step, values.into_iter().filter_map(scalar).collect())
            }
            Record::Final { step, test_loss, test_top1, .. } => {
                (step, vec![("test/loss".into(), test_loss), ("test/top1".into(), test_top1)])
            }
        };
        scalars.iter().try_for_each(|(tag, value)| self.out.events.scalar(tag, step, *value))
    }

    /// Tests the chosen epoch, once, and writes report and curves.
    fn finish(mut self, feeds: &Feeds) -> Result<Outcome> {
        if let Some(average) = &self.stepper.average {
            let (path, params) = (self.out.run.ema(), &self.model.params);
            save_average(&path, params, average, &self.trained, &self.position)?;
        }
        let chosen = TrainedFile::open(&self.out.run.best())?;
        chosen.restore(&self.device, &mut self.model.params)?;
        let test = match &feeds.test {
            Some(test) => match evaluate(&self.model, test, self.trained.classes.len(), self.stop)? {
                Some(found) => Some(found),
                None => return Err(self.interrupted_at_the_end()),
            },
            None => None,
        };
        let records = read_metrics(&self.out.run.metrics())?;
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
        outcome.last_top1 = last.flatten().map(f64::from);
        if let Some(test) = &outcome.test {
            self.record(Record::Final {
                step: self.position.step,
                best_epoch: u64::from(outcome.best_epoch),
                test_loss: test.loss as f32,
                test_top1: test.top1 as f32,
                test_top5: test.top5 as f32,
                seconds: self.began.elapsed().as_secs_f32(),
            })?;
        }
        outcome.write(&self.out.run.report())?;
        let picture = curves(&records);
        write_atomically(&self.out.run.curves(), |file| std::io::Write::write_all(file, &picture))?;
        self.out.progress.finish();
        Ok(outcome)
    }

    /// Training is done and saved: only the test is missing.
    fn interrupted_at_the_end(&self) -> Error {
        let hint = format!("test with `{}`", self.resuming());
        Error::Interrupted { step: self.position.step, hint }
    }
}
