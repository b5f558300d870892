//! The training loop: a session in a run folder.

use std::path::Path;
use std::time::{Duration, Instant};

use autograd::{Gradients, Tape};
use engine::{Device, Tensor};
use ptx::adamw::Settings;
use ptx::cross_entropy::{cross_entropy, smooth_targets};

use super::outcome::Outcome;
use super::setup::{self, Feeds};
use super::state::{Best, Position, TrainedFile, save_best, save_last};
use super::{FeedBatch, Method, Optimizer, TrainConfig, Trained, evaluate, recipe_decays};
use crate::checkpoint::write_atomically;
use crate::data::Dataset;
use crate::model::{Bound, Classifier, DropPath};
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
    model: Classifier,
    trained: Trained,
    optimizer: Optimizer,
    position: Position,
    out: Output,
    stop: &'a dyn Fn() -> bool,
    fingerprint: String,
    began: Instant,
    saved: Instant,
    throughput: Throughput,
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

impl<'a> Session<'a> {
    /// Starts a run in a new folder.
    pub fn start(config: TrainConfig, out: &Path, around: Surroundings<'a>) -> Result<Self> {
        let prepared = prepare(&config, &around.device)?;
        let run = RunDir::create(out)?;
        let text = toml::to_string(&config).expect("plain values make valid TOML");
        // The config comes last: with it the folder can be resumed.
        for (path, text) in [(run.classes(), prepared.data.classes.join("\n") + "\n"), (run.config(), text)] {
            write_atomically(&path, |file| std::io::Write::write_all(file, text.as_bytes()))?;
        }
        Self::open(config, prepared, run, None, around)
    }

    /// Continues the run in a folder where its last save left it.
    pub fn resume(folder: &Path, around: Surroundings<'a>) -> Result<Self> {
        let run = RunDir::resume(folder)?;
        let config = read_config(&run.config())?;
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
        Self::open(config, prepared, run, saved, around)
    }

    fn open(
        config: TrainConfig,
        prepared: Prepared,
        run: RunDir,
        saved: Option<TrainedFile>,
        around: Surroundings<'a>,
    ) -> Result<Self> {
        let Surroundings { device, show, stop } = around;
        let Prepared { mut model, trained, data, notes } = prepared;
        let began = Instant::now();
        let fingerprint = data.fingerprint();
        let mut optimizer = Optimizer::new(&device, &model.params, recipe_decays);
        let mut position = Position::default();
        if let Some(saved) = saved {
            saved.restore(&device, &mut model.params)?;
            saved.restore_optimizer(&device, &model.params, &mut optimizer, &fingerprint)?;
            position = saved.position;
        }
        let feeds = setup::feeds(&config, &model, &data)?;
        let total = u64::from(config.epochs) * feeds.train.batches() as u64;
        let mut progress = Progress::new(total, position.step, show);
        notes.iter().for_each(|note| progress.line(note));
        if position.step > 0 {
            progress.line(&format!("resumed after step {}", position.step));
        }
        let metrics = MetricsWriter::append(&run.metrics())?;
        let events = EventWriter::create(run.path(), position.step)?;
        let out = Output { run, metrics, events, progress };
        let throughput = Throughput::default();
        let saved = Instant::now();
        let state = State {
            config,
            device,
            model,
            trained,
            optimizer,
            position,
            out,
            stop,
            fingerprint,
            began,
            saved,
            throughput,
        };
        Ok(Session { feeds, state })
    }

    /// Trains to the end, tests the chosen epoch once and writes the report.
    pub fn run(self) -> Result<Outcome> {
        let Session { feeds, mut state } = self;
        while state.position.epoch < state.config.epochs {
            state.epoch(&feeds)?;
        }
        state.finish(&feeds)
    }
}

impl State<'_> {
    fn epoch(&mut self, feeds: &Feeds) -> Result<()> {
        let begun = Instant::now();
        self.steps(feeds)?;
        let epoch = self.position.epoch + 1;
        let train_loss = self.position.loss_sum() / feeds.train.batches() as f64;
        let Some(found) = evaluate(&self.model, &feeds.val, self.trained.classes.len(), self.stop)? else {
            return Err(self.interrupted()?);
        };
        let before = self.position.best;
        let best = before.filter(|best| best.top1 >= found.top1).unwrap_or(Best { epoch, top1: found.top1 });
        let seconds = begun.elapsed().as_secs_f32();
        self.record(Record::Epoch {
            step: self.position.step,
            epoch: u64::from(epoch),
            train_loss: train_loss as f32,
            val_loss: found.loss as f32,
            val_top1: found.top1 as f32,
            val_top5: found.top5 as f32,
            seconds,
        })?;
        self.position = Position { step: self.position.step, epoch, best: Some(best), ..Position::default() };
        if before != Some(best) {
            save_best(&self.out.run.best(), &self.model.params, &self.trained, &self.position)?;
        }
        self.save()?;
        self.out.progress.line(&format!(
            "epoch {epoch}/{}  loss {train_loss:.4}  {} top-1 {:.2}%  best {:.2}% (epoch {})  {seconds:.1} s",
            self.config.epochs,
            self.selects_on(),
            100.0 * found.top1,
            100.0 * best.top1,
            best.epoch,
        ));
        Ok(())
    }

    /// The split that chooses the epoch.
    fn selects_on(&self) -> &'static str {
        if self.config.select_on_test { "test" } else { "val" }
    }

    /// The steps of the epoch under way that are not done yet.
    fn steps(&mut self, feeds: &Feeds) -> Result<()> {
        let (epoch, first) = (self.position.epoch, self.position.batch);
        let lr = self.config.schedule().epoch(epoch);
        let mut batches = feeds.train.epoch(epoch, first, self.model.vim.config.img_size);
        loop {
            let asked = Instant::now();
            let Some(batch) = batches.next() else { return Ok(()) };
            let (batch, waited) = (batch?, asked.elapsed());
            let loss = self.step(&batch, lr)?;
            self.position.step += 1;
            self.position.batch += 1;
            self.position.add_loss(loss);
            self.show_step(&batch, loss, lr, waited, asked.elapsed())?;
            if (self.stop)() {
                return Err(self.interrupted()?);
            }
            let asked_to =
                self.config.save_every > 0 && self.position.step.is_multiple_of(self.config.save_every);
            if asked_to || self.saved.elapsed() > SAVE_PERIOD {
                self.save()?;
            }
        }
    }

    /// One update; returns the loss before it.
    fn step(&mut self, batch: &FeedBatch, lr: f64) -> Result<f32> {
        let tape = Tape::new(&self.device);
        let (loss, bound, grads) = self.loss_and_gradients(tape, batch)?;
        if !loss.is_finite() {
            return Err(self.diverged(batch, loss));
        }
        let settings = Settings { lr, weight_decay: self.config.weight_decay, ..Settings::default() };
        for id in self.model.params.trained() {
            let name = self.model.params.name(id);
            if let Some(Err(e)) =
                grads.get(&bound[id]).map(|g| g.check_finite(&format!("the gradient of {name}")))
            {
                return Err(self.stopped(loss, e.to_string()));
            }
        }
        self.optimizer.step(&self.device, &mut self.model.params, bound, &grads, &settings)?;
        Ok(loss)
    }

    fn loss_and_gradients(&self, tape: Tape, batch: &FeedBatch) -> Result<(f32, Bound, Gradients)> {
        loss_and_gradients(&self.config, &self.model, self.position.epoch, tape, batch)
    }

    /// Looks for the first tensor that is not finite by running the step again, checking each.
    fn diverged(&self, batch: &FeedBatch, loss: f32) -> Error {
        let found = self.loss_and_gradients(Tape::new(&self.device).checking_finite(), batch).err();
        let what = found.map_or("no tensor before it is at fault".into(), |e| format!("first at {e}"));
        self.stopped(loss, what)
    }

    /// Saves the state before the step that failed.
    fn stopped(&self, loss: f32, what: String) -> Error {
        let kept = match save_last(&self.out.run.last(), self.saveable()) {
            Ok(()) => format!("the state before this step is kept in {}", self.out.run.last().display()),
            Err(e) => format!("the state could not be kept: {e}"),
        };
        let hint = format!("{kept}; try a lower --lr");
        Error::Diverged { step: self.position.step + 1, loss, what, hint }
    }

    fn interrupted(&mut self) -> Result<Error> {
        self.save()?;
        let hint = format!("continue with `{}`", self.resuming());
        Ok(Error::Interrupted { step: self.position.step, hint })
    }

    /// The command that resumes the run on this device.
    fn resuming(&self) -> String {
        let device = self.device.launcher().map_or(String::new(), |d| format!(" --device {}", d.name()));
        format!("svp-train --resume {}{device}", self.out.run.path().display())
    }

    fn saveable(&self) -> super::state::Saveable<'_> {
        super::state::Saveable {
            params: &self.model.params,
            optimizer: &self.optimizer,
            trained: &self.trained,
            position: &self.position,
            data: &self.fingerprint,
        }
    }

    fn save(&mut self) -> Result<()> {
        save_last(&self.out.run.last(), self.saveable())?;
        self.saved = Instant::now();
        Ok(())
    }

    fn show_step(
        &mut self,
        batch: &FeedBatch,
        loss: f32,
        lr: f64,
        waited: Duration,
        busy: Duration,
    ) -> Result<()> {
        let images = batch.labels.len() as u64;
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
        let on = if self.config.select_on_test { "test" } else { "val" };
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
                let values = [("loss", val_loss), ("top1", val_top1), ("top5", val_top5)];
                (step, values.map(|(name, value)| (format!("{on}/{name}"), value)).into())
            }
            Record::Final { step, test_loss, test_top1, .. } => {
                (step, vec![("test/loss".into(), test_loss), ("test/top1".into(), test_top1)])
            }
        };
        scalars.iter().try_for_each(|(tag, value)| self.out.events.scalar(tag, step, *value))
    }

    /// Tests the chosen epoch, once, and writes report and curves.
    fn finish(mut self, feeds: &Feeds) -> Result<Outcome> {
        let chosen = TrainedFile::open(&self.out.run.best())?;
        chosen.restore(&self.device, &mut self.model.params)?;
        let test = match &feeds.test {
            Some(test) => match evaluate(&self.model, test, self.trained.classes.len(), self.stop)? {
                Some(found) => Some(found),
                None => return Err(self.interrupted_at_the_end()),
            },
            None => None,
        };
        let outcome = Outcome::new(
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
        let picture = curves(&read_metrics(&self.out.run.metrics())?);
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

/// The loss of a batch in an epoch (from 0), and the gradients of the parameters that are trained.
pub(super) fn loss_and_gradients(
    config: &TrainConfig,
    model: &Classifier,
    epoch: u32,
    tape: Tape,
    batch: &FeedBatch,
) -> Result<(f32, Bound, Gradients)> {
    let (logits, bound) = if config.method == Method::Linear {
        model.classify(&tape, batch.input.clone())?
    } else {
        let drop_path =
            DropPath { rate: config.drop_path, seed: config.seed, epoch, samples: &batch.indices };
        let (_, logits, bound) = model.forward(&tape, batch.input.clone(), Some(drop_path))?;
        (logits, bound)
    };
    let classes = logits.shape()[1];
    let targets = smooth_targets(&model.device, &batch.labels, classes, config.smoothing)?;
    let loss = cross_entropy(&tape, &logits, &targets)?;
    let value = loss.value().values()?[0];
    let grads = tape.backward(&loss, Tensor::from_slice(&model.device, &[1.0], &[1]))?;
    Ok((value, bound, grads))
}
