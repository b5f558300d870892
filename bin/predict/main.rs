//! `svp-predict`: predicts the classes of images.

#![forbid(unsafe_code)]

mod features;
mod form;
mod list;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use engine::Tensor;
use svp::Result;
use svp::data::{Batch, Loader, LoaderOptions};
use svp::report::table::{count, duration};
use svp::train::TrainedModel;
use svp_cli::{Preparation, Using, tell, workers};

use crate::features::Features;
use crate::form::{Form, Format, TopK};

/// Most images that are computed together.
const BATCH: usize = 32;
/// Batches that few images are parted into, so that several threads read them.
const PARTS: usize = 16;
/// Fewest images of such a part.
const PART: usize = 4;

/// Names the most probable classes of every image.
///
/// Images are read ahead by threads of their own while the model computes. One that cannot be read is named on standard
/// error and left out, and the exit code is then 1.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Run folder whose model predicts, or its best.safetensors
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    /// What is printed: text for people, a table with a line for each image, or a JSON object a line as by --json
    #[arg(long, default_value = "text", conflicts_with = "json")]
    format: Format,
    /// Number of classes that are named for an image, the most probable first, or all
    #[arg(long, value_name = "N", default_value = "5")]
    top_k: TopK,
    /// Give the probability of every class too, in the order of the run's classes.txt (csv and jsonl)
    #[arg(long)]
    probabilities: bool,
    /// Write the features before the head as an array [images, width] of f32 for NumPy, and the images of its rows to
    /// FILE.npy.txt
    #[arg(long, value_name = "FILE.npy")]
    features: Option<PathBuf>,
    #[command(flatten)]
    using: Using,
    /// Images, or folders that are searched for images; - reads paths from standard input, one a line
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

/// Images that are printed, and all that are to be, for the last words of a command that is stopped.
static PROGRESS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

fn main() -> ExitCode {
    svp_cli::exit(|| run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    svp_cli::end_on_signals(|| {
        let [done, all] = PROGRESS.each_ref().map(|count| count.load(Ordering::SeqCst));
        format!("{done} of {all} images are done, and what was written of them is whole")
    })?;
    let format = if cli.using.json { Format::Jsonl } else { cli.format };
    form::check(format, cli.probabilities)?;
    cli.features.as_deref().map_or(Ok(()), features::check)?;
    let loaded = cli.using.load(&cli.run)?;
    let (images, found_all) = list::images(&cli.images);
    let form = Form::new(format, cli.top_k, cli.probabilities, &loaded.trained.classes);
    let features = cli.features.as_deref().map(|path| Features::create(path, loaded.model.spec().width));
    let mut sink = Sink { form, features: features.transpose()?, model: &loaded, images };
    svp_cli::print(&sink.form.header())?;
    let begun = Instant::now();
    let broken = if sink.images.is_empty() { 0 } else { sink.predict()? };
    let done = PROGRESS[0].load(Ordering::SeqCst);
    if done > 0 {
        tell(&rate(done, begun.elapsed()));
    }
    Ok(if found_all && broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where predictions go, and what they are made of.
struct Sink<'a> {
    form: Form<'a>,
    features: Option<Features>,
    model: &'a TrainedModel,
    images: Vec<PathBuf>,
}

impl Sink<'_> {
    /// Predicts all images, and returns how many cannot be read.
    fn predict(&mut self) -> Result<usize> {
        let preparation = Preparation::of(self.model, true);
        let samples = Arc::new(self.images.iter().map(|path| preparation.sample(path)).collect::<Vec<_>>());
        PROGRESS[1].store(samples.len(), Ordering::SeqCst);
        let batch = (samples.len() / PARTS).clamp(PART, BATCH);
        let options = LoaderOptions::predict(batch, workers());
        let loader = Loader::new(samples, preparation.into_transform(), options)?;
        let (mut seen, mut broken) = (0, 0);
        let mut complain = |from: &mut u32| {
            for one in loader.broken_from(*from) {
                tell(&format!("error: {}; it is left out", one.reason));
                (*from, broken) = (one.index + 1, broken + 1);
            }
        };
        for batch in loader.epoch(0, 0) {
            let batch = batch?;
            complain(&mut seen);
            self.compute(batch)?;
        }
        complain(&mut seen);
        Ok(broken)
    }

    /// Computes a batch and writes what is asked for of it.
    fn compute(&mut self, batch: Batch) -> Result<()> {
        let Batch { images, side, indices, .. } = batch;
        let model = &self.model.model;
        let features = model.features(Tensor::from_vec(images, &[indices.len(), 3, side, side]))?;
        let paths: Vec<_> = indices.iter().map(|&index| self.images[index as usize].as_path()).collect();
        if let Some(file) = &mut self.features {
            file.append(&paths, &features.values()?)?;
        }
        let logits = model.logits_of(features)?;
        let logits = logits.values()?;
        let rows = logits.chunks_exact(model.classes());
        let lines: String =
            paths.iter().zip(rows).map(|(path, logits)| self.form.lines(path, logits)).collect();
        svp_cli::print(&lines)?;
        PROGRESS[0].fetch_add(indices.len(), Ordering::SeqCst);
        Ok(())
    }
}

/// How fast it was.
fn rate(images: usize, time: Duration) -> String {
    let a_second = images as f64 / time.as_secs_f64().max(1e-9);
    let what = if images == 1 { "image" } else { "images" };
    format!("{} {what} in {}: {a_second:.1} images/s", count(images as u64), duration(time))
}
