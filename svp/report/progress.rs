//! Progress on standard error: of a training run a bar on a terminal and plain lines elsewhere, of other long work a bar
//! on a terminal and nothing elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::table::{count, duration, percent};
use crate::data::text::shown;

/// Least time between two plain lines about steps.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// Weight of the newest step in smoothed numbers, so that about the last 20 steps count.
const NEWEST: f32 = 0.1;

/// How the progress of a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A bar that is redrawn in place; lines appear above it.
    Bar,
    /// One line at a time, for files and pipes.
    Lines,
    /// Nothing at all.
    Nothing,
}

impl Show {
    /// A bar if standard error is a terminal, else lines.
    pub fn fitting() -> Self {
        if stderr().is_terminal() { Show::Bar } else { Show::Lines }
    }
}

/// What is known after a training step.
#[derive(Debug, Clone, Copy)]
pub struct StepInfo {
    /// Number of steps finished in the whole run, those before a resume included.
    pub step: u64,
    /// Number of the epoch under way; the first is 1.
    pub epoch: u64,
    /// Number of epochs of the run.
    pub epochs: u64,
    /// Training loss of the step.
    pub loss: f32,
    /// Learning rate of the step.
    pub lr: f32,
    /// Images trained on in a second of the step.
    pub images_per_s: f32,
    /// Share of the step that was spent waiting for data, 0 to 1.
    pub wait_share: f32,
}

/// Shows how far a run is. If standard error is closed, the run goes on in silence.
pub struct Progress {
    sink: Sink,
    total: u64,
    /// When this process began, and how many steps were finished then.
    began: (Instant, u64),
    images_per_s: Smooth,
    wait_share: Smooth,
}

enum Sink {
    Bar(ProgressBar),
    Lines { out: Box<dyn Write + Send>, last: Instant },
    Nothing,
}

impl Progress {
    /// Shows the progress of a run of `total` steps, of which earlier processes have finished `done`.
    pub fn new(total: u64, done: u64, show: Show) -> Self {
        let now = Instant::now();
        let sink = match show {
            Show::Bar => Sink::Bar(bar(total, done)),
            Show::Lines => Sink::Lines { out: Box::new(stderr()), last: now },
            Show::Nothing => Sink::Nothing,
        };
        Self {
            sink,
            total,
            began: (now, done),
            images_per_s: Smooth::default(),
            wait_share: Smooth::default(),
        }
    }

    /// Shows a training step that is finished.
    pub fn step(&mut self, info: StepInfo) {
        self.step_at(info, Instant::now());
    }

    fn step_at(&mut self, info: StepInfo, now: Instant) {
        self.images_per_s.add(info.images_per_s);
        self.wait_share.add(info.wait_share);
        let (text, left) = (self.describe(&info), self.left(info.step, now));
        match &mut self.sink {
            Sink::Bar(bar) => {
                bar.set_prefix(left);
                bar.set_message(text);
                bar.set_position(info.step);
            }
            Sink::Lines { out, last } if now.duration_since(*last) >= PLAIN_EVERY => {
                *last = now;
                let _ = writeln!(out, "step {} of {}  {text}  {left}", count(info.step), count(self.total));
            }
            Sink::Lines { .. } | Sink::Nothing => {}
        }
    }

    /// Writes a line that stays, such as the summary of an epoch or a warning.
    pub fn line(&mut self, text: &str) {
        let text = shown(text);
        match &mut self.sink {
            Sink::Bar(bar) => bar.suspend(|| drop(writeln!(stderr(), "{text}"))),
            Sink::Lines { out, .. } => drop(writeln!(out, "{text}")),
            Sink::Nothing => {}
        }
    }

    /// Removes the bar; lines stay.
    pub fn finish(self) {
        if let Sink::Bar(bar) = self.sink {
            bar.finish_and_clear();
        }
    }

    fn describe(&self, info: &StepInfo) -> String {
        format!(
            "epoch {}/{}  loss {:.4}  lr {:.1e}  {:.1} images/s  data wait {}",
            info.epoch,
            info.epochs,
            info.loss,
            info.lr,
            self.images_per_s.value(),
            percent(self.wait_share.value()),
        )
    }

    /// The time to the end of the whole run, at the mean pace of this process with its validations.
    fn left(&self, step: u64, now: Instant) -> String {
        let (start, done) = self.began;
        let pace = now.duration_since(start).as_secs_f64() / step.saturating_sub(done).max(1) as f64;
        let seconds = pace * self.total.saturating_sub(step) as f64;
        Duration::try_from_secs_f64(seconds)
            .map_or("? left".into(), |time| format!("{} left", duration(time)))
    }
}

/// A bar with two lines, so that everything fits a terminal of 80 columns.
fn bar(total: u64, done: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len}  {prefix}\n{wide_msg}")
        .expect("a valid template");
    let bar = ProgressBar::new(total).with_style(style).with_position(done);
    bar.tick();
    bar
}

/// How far long work is that is not training, such as an evaluation: a bar on a terminal, nothing elsewhere. It is
/// removed when this is dropped. Any number of threads may count.
pub struct Counter(ProgressBar);

impl Counter {
    /// A bar for `total` things of one kind, which are named in the plural.
    pub fn new(what: &str, total: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {msg}  {eta} left");
        let bar = ProgressBar::new(total as u64).with_style(style.expect("a valid template"));
        bar.set_message(what.to_string());
        Counter(bar)
    }

    /// Counts `n` more things.
    pub fn add(&self, n: usize) {
        self.0.inc(n as u64);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A mean with exponentially falling weights, which is right from the first value on.
#[derive(Debug, Default)]
struct Smooth {
    sum: f32,
    weight: f32,
}

impl Smooth {
    fn add(&mut self, value: f32) {
        self.sum += NEWEST * (value - self.sum);
        self.weight += NEWEST * (1.0 - self.weight);
    }

    fn value(&self) -> f32 {
        self.sum / self.weight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written where the test can read it.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(String::from).collect()
        }
    }

    fn plain(total: u64, done: u64) -> (Progress, Page) {
        let page = Page::default();
        let mut progress = Progress::new(total, done, Show::Nothing);
        progress.sink = Sink::Lines { out: Box::new(page.clone()), last: progress.began.0 };
        (progress, page)
    }

    fn info(step: u64) -> StepInfo {
        StepInfo { step, epoch: 2, epochs: 5, loss: 1.25, lr: 9.375e-4, images_per_s: 4.0, wait_share: 0.025 }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn plain_lines_come_every_ten_seconds_at_most_and_none_of_the_others_is_lost() {
        let (mut progress, page) = plain(2_000, 0);
        let start = progress.began.0;
        for step in 1..=25 {
            progress.step_at(info(step), start + seconds(step));
            if step == 15 {
                progress.line("epoch 1 of 5: top-1 50.0 %");
            }
        }
        progress.finish();
        let lines = page.lines();
        assert_eq!(
            lines[0],
            "step 10 of 2,000  epoch 2/5  loss 1.2500  lr 9.4e-4  4.0 images/s  data wait 2.5 %  33 m 10 s left"
        );
        assert_eq!(lines[1], "epoch 1 of 5: top-1 50.0 %");
        assert!(lines[2].starts_with("step 20 of 2,000"), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn the_time_left_is_that_of_the_whole_run_at_the_pace_of_this_process() {
        let (progress, _) = plain(1_000, 900);
        let now = progress.began.0 + seconds(100);
        // 50 steps in 100 s, 50 more to come.
        assert_eq!(progress.left(950, now), "1 m 40 s left");
        assert_eq!(progress.left(1_000, now), "0.0 s left");
        assert_eq!(progress.left(900, now), "2 h 46 m left");
    }

    #[test]
    fn smoothing_starts_at_once_and_follows() {
        let mut smooth = Smooth::default();
        smooth.add(4.0);
        assert!((smooth.value() - 4.0).abs() < 1e-5);
        smooth.add(8.0);
        assert!(smooth.value() > 4.0 && smooth.value() < 8.0);
        (0..100).for_each(|_| smooth.add(8.0));
        assert!((smooth.value() - 8.0).abs() < 1e-3);
    }

    #[test]
    fn a_bar_takes_odd_numbers() {
        let mut progress = Progress::new(0, 0, Show::Bar);
        if let Sink::Bar(bar) = &progress.sink {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        progress.step(StepInfo { loss: f32::NAN, images_per_s: f32::INFINITY, ..info(7) });
        if let Sink::Bar(bar) = &progress.sink {
            assert_eq!(bar.position(), 7);
            assert!(bar.message().starts_with("epoch 2/5  loss NaN"), "{}", bar.message());
        }
        progress.finish();
    }

    #[test]
    fn a_closed_output_does_not_stop_the_run() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (mut progress, _) = plain(10, 0);
        let start = progress.began.0;
        progress.sink = Sink::Lines { out: Box::new(Closed), last: start };
        progress.line("unheard");
        progress.step_at(info(1), start + seconds(60));
        progress.finish();
    }
}
