//! `svp-predict`: predicts the classes of images.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use engine::Tensor;
use rayon::prelude::*;
use serde::Serialize;
use svp::data::text::shown;
use svp::report::table::percent;
use svp::train::{TrainedModel, ranking, softmax};
use svp::{Error, Result};
use svp_cli::{Preparation, Using, images_at};

/// Number of images that are computed together.
const BATCH: usize = 32;
/// Number of classes that are named for an image.
const TOP: usize = 5;

/// Names the five most probable classes of every image.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of the run whose model predicts, or its best.safetensors
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    #[command(flatten)]
    using: Using,
    /// Images, or folders that are searched for images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Prediction<'a> {
    image: String,
    predictions: Vec<Guess<'a>>,
}

#[derive(Serialize)]
struct Guess<'a> {
    class: &'a str,
    probability: f64,
}

fn main() -> ExitCode {
    svp_cli::exit(run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let loaded = cli.using.load(&cli.run)?;
    let mut broken = false;
    let mut complain = |e: &Error| {
        svp_cli::complain(e);
        broken = true;
    };
    let mut images = vec![];
    for path in &cli.images {
        match images_at(path) {
            Ok(found) => images.extend(found),
            Err(e) => complain(&e),
        }
    }
    for paths in images.chunks(BATCH) {
        let (readable, pixels) = read(paths, &loaded, &mut complain);
        if readable.is_empty() {
            continue;
        }
        for prediction in predict(&loaded, &readable, pixels)? {
            svp_cli::show(&prediction, cli.using.json, text)?;
        }
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The images that can be read, and their values as the model takes them.
fn read(
    paths: &[PathBuf],
    loaded: &TrainedModel,
    complain: &mut impl FnMut(&Error),
) -> (Vec<PathBuf>, Vec<f32>) {
    let preparation = Preparation::of(loaded, true);
    let load = |path: &PathBuf| Ok(preparation.values(&preparation.read(path)?));
    let images: Vec<Result<Vec<f32>>> = paths.par_iter().map(load).collect();
    let (mut readable, mut pixels) = (vec![], vec![]);
    for (path, values) in paths.iter().zip(images) {
        match values {
            Ok(values) => {
                readable.push(path.clone());
                pixels.extend(values);
            }
            Err(e) => complain(&e),
        }
    }
    (readable, pixels)
}

fn predict<'a>(loaded: &'a TrainedModel, paths: &[PathBuf], pixels: Vec<f32>) -> Result<Vec<Prediction<'a>>> {
    let size = loaded.model.transform().size as usize;
    let logits = loaded.model.logits(Tensor::from_vec(pixels, &[paths.len(), 3, size, size]))?;
    let classes = &loaded.trained.classes;
    let of_image = |(path, logits): (&PathBuf, &[f32])| {
        let probabilities = softmax(logits);
        let guess = |class: usize| Guess { class: &classes[class], probability: probabilities[class] };
        let predictions = ranking(logits).into_iter().take(TOP).map(guess).collect();
        Prediction { image: path.display().to_string(), predictions }
    };
    let logits = logits.values()?;
    Ok(paths.iter().zip(logits.chunks_exact(classes.len())).map(of_image).collect())
}

fn text(prediction: &Prediction) -> String {
    let line = |guess: &Guess| format!("{:>9}  {}\n", percent(guess.probability as f32), shown(guess.class));
    let lines: String = prediction.predictions.iter().map(line).collect();
    format!("{}\n{lines}", shown(&prediction.image))
}
