//! Images a second that one core makes ready for training, with the published recipe (docs/recipe.md, "Training
//! images" and "Mixup and cutmix"): JPEG files of 690 x 500 to normalised batches of 224 px, side by side with
//! torchvision and timm when a Python that has them is named.
//!
//! ```text
//! cargo bench --bench loader
//! REFERENCE_PYTHON=venv/bin/python cargo bench --bench loader
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Rng;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use svp::data::augment::erase::erase;
use svp::data::{Augment, Fit, Loader, LoaderOptions, Mix, Normalisation, Sample, Source, Transform, decode};

const FILES: u32 = 96;
const WIDTH: u32 = 690;
const HEIGHT: u32 = 500;
const QUALITY: u8 = 85;
const SIZE: u32 = 224;
const BATCH: usize = 32;
const EPOCHS: u32 = 6;

/// A picture with the detail of a photograph: noise of every scale, weaker the finer, and some edges.
fn picture(number: u32) -> RgbImage {
    let mut image = vec![128.0; (WIDTH * HEIGHT * 3) as usize];
    for (octave, cell) in [160, 80, 40, 20, 10, 5, 2, 1].into_iter().enumerate() {
        let mut rng = Rng::keyed(number.into(), 0, octave as u32, 0);
        let columns = (WIDTH / cell + 2) as usize;
        let knots: Vec<[f32; 3]> = (0..columns * (HEIGHT / cell + 2) as usize)
            .map(|_| {
                let grey = rng.range(-1.0, 1.0);
                std::array::from_fn(|_| (grey + 0.3 * rng.range(-1.0, 1.0)) as f32)
            })
            .collect();
        let strength = 3.0 + 0.3 * cell as f32;
        for (i, pixel) in image.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i as u32 % WIDTH, i as u32 / WIDTH);
            let (fx, fy) = ((x % cell) as f32 / cell as f32, (y % cell) as f32 / cell as f32);
            let at = (y / cell) as usize * columns + (x / cell) as usize;
            for (c, value) in pixel.iter_mut().enumerate() {
                let line = |at: usize| knots[at][c] * (1.0 - fx) + knots[at + 1][c] * fx;
                *value += strength * (line(at) * (1.0 - fy) + line(at + columns) * fy);
            }
        }
    }
    RgbImage::from_raw(WIDTH, HEIGHT, image.into_iter().map(|v: f32| v as u8).collect()).unwrap()
}

/// The files, in a folder of the build's; made once.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("loader/train/photos");
    std::fs::create_dir_all(&folder).unwrap();
    let file = |number| {
        let path = folder.join(format!("{number:03}.jpg"));
        if !path.exists() {
            let mut bytes = vec![];
            JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&picture(number)).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        path
    };
    (0..FILES).map(file).collect()
}

fn recipe() -> Augment {
    let auto = Some("rand-m9-mstd0.5-inc1".parse().unwrap());
    Augment { auto, erase: 0.25, ..Augment::default() }
}

/// Images a second of the whole loader with one worker, in the fastest epoch.
fn loaded(files: &[PathBuf]) -> f64 {
    let sample = |path: &PathBuf| Sample::new(Source::File(path.as_path().into()), 0);
    let samples = Arc::new(files.iter().map(sample).collect());
    let mix = Some(Mix { mixup: 0.8, cutmix: 1.0, prob: 1.0, switch_prob: 0.5 });
    let options = LoaderOptions { mix, ..LoaderOptions::train(BATCH, 1, 0) };
    let loader =
        Loader::new(samples, Transform::train(SIZE, Normalisation::IMAGENET, recipe()), options).unwrap();
    let rate = |epoch| {
        let begun = Instant::now();
        let images: usize = loader.epoch(epoch, 0).map(|batch| batch.unwrap().labels.len()).sum();
        images as f64 / begun.elapsed().as_secs_f64()
    };
    (0..EPOCHS).map(rate).fold(0.0, f64::max)
}

/// Times of the stages, summed over images.
struct Stages(Vec<(&'static str, Duration)>);

impl Stages {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        let spent = begun.elapsed();
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, sum)) => *sum += spent,
            None => self.0.push((name, spent)),
        }
        done
    }
}

/// Each stage alone, in milliseconds an image.
fn stages(files: &[PathBuf]) -> Vec<(&'static str, f64)> {
    let mut stages = Stages(vec![]);
    let (plain, whole) = (
        Transform::train(SIZE, Normalisation::IMAGENET, Augment::default()),
        Transform::train(SIZE, Normalisation::IMAGENET, recipe()),
    );
    let copy = Transform { fit: Fit::Centre(1.0), ..Transform::eval(SIZE, Normalisation::IMAGENET) };
    let policy = recipe().auto.unwrap();
    let mut values = vec![0.0; whole.values()];
    for epoch in 0..EPOCHS {
        for (sample, path) in files.iter().enumerate() {
            let mut rng = Rng::keyed(0, epoch, sample as u32, 0);
            let picture = stages.time("read and decode", || decode::read(path).unwrap());
            let mut cut = stages.time("crop, resize, flip", || plain.pixels(&picture, &mut rng));
            stages.time("RandAugment", || policy.draw(&mut rng).iter().for_each(|c| c.apply(&mut cut)));
            stages.time("normalise", || copy.apply(&cut, &mut rng, &mut values));
            stages.time("erase", || erase(&mut values, SIZE as usize, 0.25, &mut rng));
        }
    }
    let images = f64::from(EPOCHS) * files.len() as f64;
    stages.0.into_iter().map(|(name, sum)| (name, 1e3 * sum.as_secs_f64() / images)).collect()
}

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return; // `cargo test --benches` only asks whether it starts.
    }
    let files = files();
    let bytes: u64 = files.iter().map(|path| path.metadata().unwrap().len()).sum();
    println!(
        "published recipe at {SIZE} px from {FILES} JPEG files of {WIDTH} x {HEIGHT}, {} KiB each, {:?}",
        bytes / u64::from(FILES) / 1024,
        engine::simd::level()
    );
    for (name, ms) in stages(&files) {
        println!("  {name:20} {ms:6.3} ms an image");
    }
    println!("  svp-train            {:6.0} images/s a core", loaded(&files));
    match std::env::var("REFERENCE_PYTHON") {
        Err(_) => println!("  torchvision, timm    not run: set REFERENCE_PYTHON to a Python that has them"),
        Ok(python) => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/reference/loader.py");
            let folder = files[0].parent().unwrap();
            let output = Command::new(python).arg(script).arg(folder).output().expect("the reference starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            println!("  torchvision, timm    {}", String::from_utf8_lossy(&output.stdout).trim());
        }
    }
}
