//! `svp-predict`: the classes of images.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use engine::{Rng, Tensor};
use rayon::prelude::*;
use serde::Serialize;
use svp::data::{Normalisation, Transform, decode};
use svp::report::table::percent;
use svp::train::{TrainedModel, load_trained, ranking, softmax};
use svp::{Error, Result};
use svp_cli::Using;

/// Images that are computed together.
const BATCH: usize = 32;
/// Classes that are told of an image.
const TOP: usize = 5;

/// Tells the five likeliest classes of images.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of a run, or its best.safetensors
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    #[command(flatten)]
    using: Using,
    /// Images, or folders of images
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
    svp_cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let device = cli.using.compute.start()?;
    let model = load_trained(&cli.run, cli.using.backbone.as_deref(), &device)?;
    let mut broken = false;
    let mut complain = |e: &Error| {
        svp_cli::complain(e);
        broken = true;
    };
    let mut images = vec![];
    for path in &cli.images {
        match files(path) {
            Ok(found) => images.extend(found),
            Err(e) => complain(&e),
        }
    }
    for paths in images.chunks(BATCH) {
        let (readable, pixels) = read(paths, &model, &mut complain);
        if readable.is_empty() {
            continue;
        }
        for prediction in predict(&model, &readable, pixels)? {
            svp_cli::print(&if cli.using.json { json(&prediction) } else { text(&prediction) })?;
        }
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The file itself, or the images in and below a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let found = images_below(path)?;
    if found.is_empty() {
        return Err(Error::path(path, "has no images", "give image files or a folder of them"));
    }
    Ok(found)
}

/// Folder by folder, sorted by name; links to folders are not followed, they could lead back.
fn images_below(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| Error::io(path, "list the folder", &e);
    let mut entries = vec![];
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push((entry.path(), entry.file_type().map_err(failed)?.is_dir()));
    }
    entries.sort();
    let mut found = vec![];
    for (path, folder) in entries {
        if folder {
            found.extend(images_below(&path)?);
        } else if decode::is_image_name(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Those of the images that can be read, and their pixels as the model wants them.
fn read(paths: &[PathBuf], of: &TrainedModel, complain: &mut impl FnMut(&Error)) -> (Vec<PathBuf>, Vec<f32>) {
    let transform = Transform::eval(of.model.vim.config.img_size as u32, Normalisation::IMAGENET);
    let load = |path: &PathBuf| {
        let image = decode::read(path)?;
        let mut values = vec![0.0; transform.values()];
        // The transform of an evaluation leaves nothing to chance.
        transform.apply(&image, &mut Rng::keyed(0, 0, 0, 0), &mut values);
        Ok(values)
    };
    let loaded: Vec<Result<Vec<f32>>> = paths.par_iter().map(load).collect();
    let (mut readable, mut pixels) = (vec![], vec![]);
    for (path, values) in paths.iter().zip(loaded) {
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

fn predict<'a>(of: &'a TrainedModel, paths: &[PathBuf], pixels: Vec<f32>) -> Result<Vec<Prediction<'a>>> {
    let size = of.model.vim.config.img_size;
    let logits = of.model.logits(Tensor::from_vec(pixels, &[paths.len(), 3, size, size]))?;
    let classes = &of.trained.classes;
    let of_image = |(path, logits): (&PathBuf, &[f32])| {
        let probabilities = softmax(logits);
        let guess = |class: usize| Guess { class: &classes[class], probability: probabilities[class] };
        let predictions = ranking(logits).into_iter().take(TOP).map(guess).collect();
        Prediction { image: path.display().to_string(), predictions }
    };
    let logits = logits.values()?;
    Ok(paths.iter().zip(logits.chunks_exact(classes.len())).map(of_image).collect())
}

fn json(prediction: &Prediction) -> String {
    serde_json::to_string(prediction).expect("plain data") + "\n"
}

fn text(prediction: &Prediction) -> String {
    let line = |guess: &Guess| format!("{:>9}  {}\n", percent(guess.probability as f32), guess.class);
    let lines: String = prediction.predictions.iter().map(line).collect();
    format!("{}\n{lines}", prediction.image)
}
