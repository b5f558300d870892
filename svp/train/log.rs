//! Writes a run's metrics, TensorBoard events and console output.

use std::collections::HashSet;
use std::time::Duration;

use super::state::Best;
use crate::Result;
use crate::report::{EventWriter, MetricsWriter, Progress, Record, RunDir, Show, StepInfo};
use crate::score::Score;

/// The outputs of a run.
pub(super) struct Log {
    pub run: RunDir,
    metrics: MetricsWriter,
    events: EventWriter,
    pub progress: Progress,
    /// The broken images that were met so far.
    broken: HashSet<String>,
}

/// The most broken images that are named.
const NAMED: usize = 20;

/// A finished step, as it is logged.
pub(super) struct LoggedStep {
    /// Steps done, this one included.
    pub step: u64,
    /// The epoch under way, counted from 0.
    pub epoch: u32,
    pub epochs: u32,
    pub images: u64,
    pub loss: f32,
    pub lr: f64,
    /// Time spent waiting for data.
    pub waited: Duration,
    /// Time of the whole step.
    pub busy: Duration,
}

impl Log {
    /// Continues the files of a run after `step` of `total` steps.
    pub fn open(run: RunDir, total: u64, step: u64, show: Show, notes: &[String]) -> Result<Self> {
        let mut progress = Progress::new(total, step, show);
        notes.iter().for_each(|note| progress.line(note));
        if step > 0 {
            progress.line(&format!("resumed after step {step}"));
        }
        let metrics = MetricsWriter::append(&run.metrics())?;
        let events = EventWriter::create(run.path(), step)?;
        Ok(Log { run, metrics, events, progress, broken: HashSet::new() })
    }

    /// Tells of images that cannot be read, each once: the first ones in a line each.
    pub fn broken(&mut self, reasons: &[String]) {
        let before = self.broken.len();
        for reason in reasons {
            if self.broken.insert(reason.clone()) && self.broken.len() <= NAMED {
                self.progress.line(&format!("cannot be read: {reason}"));
            }
        }
        let all = self.broken.len();
        if all > before.max(NAMED) {
            self.progress
                .line(&format!("{all} images cannot be read so far; report.json will list all of them"));
        }
    }

    /// Shows a step and writes its record.
    pub fn step(&mut self, done: &LoggedStep) -> Result<()> {
        let seconds = done.busy.as_secs_f32().max(1e-9);
        let info = StepInfo {
            step: done.step,
            epoch: u64::from(done.epoch) + 1,
            epochs: u64::from(done.epochs),
            loss: done.loss,
            lr: done.lr as f32,
            images_per_s: done.images as f32 / seconds,
            // A clock that is set back makes the step shorter than its wait.
            wait_share: (done.waited.as_secs_f32() / seconds).min(1.0),
        };
        self.progress.step(info);
        let StepInfo { step, epoch, loss, lr, images_per_s, wait_share, .. } = info;
        self.record(Record::Step { step, epoch, loss, lr, images_per_s, wait_share }, None)
    }

    /// Writes a record to the metrics file and its numbers to TensorBoard's. `on` names the split that selects.
    pub fn record(&mut self, record: Record, on: Option<&str>) -> Result<()> {
        self.metrics.write(&record)?;
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
                let scalar = |(name, value): (&str, Option<f32>)| Some((format!("{}/{name}", on?), value?));
                (step, values.into_iter().filter_map(scalar).collect())
            }
            Record::Final { step, test_loss, test_top1, .. } => {
                (step, vec![("test/loss".into(), test_loss), ("test/top1".into(), test_top1)])
            }
        };
        scalars.iter().try_for_each(|(tag, value)| self.events.scalar(tag, step, *value))
    }

    /// Shows an epoch: its mean loss, its score on the split that selects, and the best one so far.
    pub fn epoch(
        &mut self,
        [epoch, epochs]: [u32; 2],
        loss: f64,
        on: Option<&str>,
        score: Option<Score>,
        best: Best,
        seconds: f32,
    ) {
        let chosen = match (on, score, best.score) {
            (Some(on), Some(score), Some(most)) => format!(
                "  {on} {} {:.2}%  best {:.2}% (epoch {})",
                score.measure,
                100.0 * score.value,
                100.0 * most.value,
                best.epoch
            ),
            _ => String::new(),
        };
        self.progress.line(&format!("epoch {epoch}/{epochs}  loss {loss:.4}{chosen}  {seconds:.1} s"));
    }
}
