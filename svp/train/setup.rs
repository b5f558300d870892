//! Builds the model and the data of a config.

use std::path::Path;
use std::sync::Arc;

use engine::Device;

use super::class_weights::{ClassFactors, ClassWeights};
use super::config::{BUILTIN, Precision, TrainConfig};
use super::feed::Feed;
use super::state::check_backbone;
use super::trained::Trained;
use crate::backbones::{self, Loaded};
use crate::checkpoint::{Checkpoint, Weights};
use crate::data::{Dataset, Loader, LoaderOptions, Sample, Transform, Turn, mapped};
use crate::model::{Model, Parts};
use crate::{Error, Result};

/// The backbone that is built into the program; `benches/results` tells how it was made.
static BACKBONE: &[u8] = include_bytes!("../assets/backbone.safetensors");

/// Stands for the path of the built-in backbone in messages.
pub const BUILTIN_BACKBONE: &str = "built-in backbone";

/// The built-in checkpoint.
fn builtin_backbone() -> Result<Checkpoint> {
    let path = Path::new(BUILTIN_BACKBONE);
    Checkpoint::from_map(Arc::new(mapped::copy(BACKBONE, path)?), path)
}

/// Loads the frozen backbone of a config, or makes one with initial values where the config names a size.
///
/// # Errors
/// A checkpoint that cannot be read or does not fit, or an unknown size.
pub fn backbone(config: &TrainConfig) -> Result<Loaded> {
    let Some(name) = &config.model else {
        let file = open_backbone(config.backbone.as_deref(), config.weights)?;
        return backbones::load(&file, config.load_options());
    };
    backbones::from_scratch(name, &config.sizes(), config.seed)
}

/// Opens the checkpoint of a backbone, the built-in one for no path. The folder of a run stands for what it trained.
///
/// # Errors
/// A file that cannot be read, and one of a run that does not hold a whole backbone.
pub(super) fn open_backbone(path: Option<&Path>, weights: Option<Weights>) -> Result<Checkpoint> {
    let Some(path) = path else { return builtin_backbone() };
    let of_run = ["best.safetensors", "last.safetensors"].into_iter().find(|name| path.join(name).is_file());
    let of_run = of_run.filter(|_| path.join("config.toml").is_file());
    let file = match of_run {
        Some(name) => {
            Checkpoint::open_weights(&path.join(name), weights)?.noted(format!("checkpoint: {name} of a run"))
        }
        None => Checkpoint::open_weights(path, weights)?,
    };
    check_backbone(&file)?;
    Ok(file)
}

/// The choice of weights in the file of a backbone that was moved: none where the file leaves none, as one to which the
/// chosen weights were converted. That they are the same is checked by their hash.
pub(super) fn weights_in(path: &Path, weights: Option<Weights>) -> Option<Weights> {
    weights.filter(|&weights| Checkpoint::open_weights(path, Some(weights)).is_ok())
}

/// Opens the data set of a config, with its validation split held out or joined to the training images, and with a test
/// split held out where nothing says which images are for what.
///
/// # Errors
/// A data set that cannot be read, or in which no class has two images to split.
pub fn dataset(config: &TrainConfig) -> Result<Dataset> {
    let data = match config.data.to_str().and_then(|name| name.strip_prefix(BUILTIN)) {
        Some(task) => Dataset::builtin(task)?,
        None => Dataset::open(&config.data, config.dataset, config.seed, config.allow_outside)?,
    };
    let turn = if config.exif_orientation { Turn::Upright } else { Turn::AsStored };
    let data = data.turned(turn).hold_out_test(config.seed, config.test_fraction)?;
    if config.train_on_val {
        return Ok(data.train_on_val());
    }
    data.hold_out(config.seed, config.val_fraction)
}

/// Checks that the settings fit the data, before anything is written.
pub(super) fn check_data(config: &TrainConfig, data: &Dataset) -> Result<()> {
    let (batch, times, n) = (config.batch_size, config.accumulate, data.train.len());
    if batch > n {
        let what = format!("{batch} is larger than the {n} training images");
        return Err(Error::input("--batch-size", what, format!("use at most {n}")));
    }
    if batch.saturating_mul(times) > n {
        let what = format!("{times} batches of {batch} are more than the {n} training images");
        return Err(Error::input("--accumulate", what, format!("use at most {}", n / batch)));
    }
    if config.select_on_test && data.test.is_none() {
        return Err(Error::input("--select-on-test", "there is no test split", "leave the flag out"));
    }
    if !config.test_noise.is_empty() && data.test.is_none() {
        return Err(Error::input("--test-noise", "there is no test split", "leave the flag out"));
    }
    if config.train_on_val && data.test.is_none() {
        let what = "there is no test split: nothing would be left to measure on";
        return Err(Error::input("--train-on-val", what, "leave the flag out"));
    }
    Ok(())
}

/// The transform of training images. Where features are kept, the images are not augmented.
pub(super) fn train_transform(config: &TrainConfig, model: &Model) -> Transform {
    Transform { augment: config.augmentation(), ..model.transform() }
}

/// Weights of the classes in the loss, where they do not weigh alike.
pub(super) fn class_weights(config: &TrainConfig, data: &Dataset) -> Option<ClassFactors> {
    let mut counts = vec![0; data.classes.len()];
    data.train.iter().for_each(|sample| counts[sample.label as usize] += 1);
    match config.class_weights {
        ClassWeights::None => None,
        ClassWeights::Balanced => Some(ClassFactors::balanced(&counts, config.mix().is_some())),
    }
}

/// The training images of a run in batches.
pub(super) fn train_images(config: &TrainConfig, model: &Model, data: &Dataset) -> Result<Feed> {
    let transform = train_transform(config, model);
    let options = LoaderOptions {
        mix: config.mix(),
        sampler: Some(config.sampler),
        ..LoaderOptions::train(config.batch_size, config.workers, config.seed)
    };
    Feed::images(&Arc::new(data.train.clone()), transform, options)
}

/// Builds the model with method and head, and the description that its trained file will carry.
pub fn model(
    config: &TrainConfig,
    device: &Device,
    loaded: Loaded,
    classes: &[String],
) -> Result<(Model, Trained)> {
    let trained = Trained::new(config, &*loaded.backbone, classes, &loaded.hash);
    let parts = Parts {
        method: config.method.clone(),
        head: config.head,
        classes: classes.len(),
        simam: config.simam,
        source_head: loaded.head,
    };
    let model = Model::new(device, loaded.backbone, loaded.params, parts, config.seed)?;
    device.allow_tf32(config.precision == Precision::Tf32);
    Ok((model.in_precision(config.precision.dtype())?, trained))
}

/// The splits of a run, ready to be fed.
pub struct Feeds {
    pub train: Feed,
    /// The split that chooses the epoch; `None` where the last one is kept.
    pub val: Option<Feed>,
    /// The test split; `None` where there is none, or where it chooses the epoch.
    pub test: Option<Feed>,
    /// The test split with noise, for each rate that is asked for.
    pub noisy: Vec<(f64, Feed)>,
    /// The training images as they are evaluated, where the head's logits are counted out before every epoch.
    pub counted: Option<Feed>,
}

impl Feeds {
    /// The reasons why images of any split could not be read so far.
    pub fn broken(&self) -> Vec<String> {
        [Some(&self.train), self.val.as_ref(), self.test.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(Feed::broken)
            .collect()
    }
}

/// Feeds of the splits: images, or features where the method keeps them.
pub fn feeds(config: &TrainConfig, model: &Model, data: &Dataset, stop: &dyn Fn() -> bool) -> Result<Feeds> {
    let transform = model.transform();
    let train = train_images(config, model, data)?;
    let [val, test] = [&data.val, &data.test].map(|split| split.clone().map(Arc::new));
    let noisy = noisy(config, model, test.as_ref())?;
    let (val, test) = if config.select_on_test { (test, None) } else { (val, test) };
    let in_order = LoaderOptions::eval(config.batch_size, config.workers);
    if !config.keeps_features() {
        let eval = |samples: &Arc<_>| Feed::images(samples, transform, in_order);
        let counts = model.method.counted().is_some_and(|counted| counted.every_epoch);
        // What the frozen backbone makes of an image that never changes is computed once.
        let assigned = |feed: Feed, samples: &Arc<Vec<_>>| {
            feed.assigned(model, &Loader::new(samples.clone(), transform, in_order)?, stop)
        };
        let changed = config.augmentation().is_some() || config.mix().is_some();
        return Ok(Feeds {
            train: if changed { train } else { assigned(train, &Arc::new(data.train.clone()))? },
            val: val.map(|samples| assigned(eval(&samples)?, &samples)).transpose()?,
            test: test.map(|samples| eval(&samples)).transpose()?,
            noisy,
            counted: counts.then(|| eval(&Arc::new(data.train.clone()))).transpose()?,
        });
    }
    let sampled = LoaderOptions {
        sampler: Some(config.sampler),
        ..LoaderOptions::train(config.batch_size, config.workers, config.seed)
    };
    let features =
        |samples, options| Feed::features(model, &Loader::new(samples, transform, in_order)?, options, stop);
    Ok(Feeds {
        train: features(Arc::new(data.train.clone()), sampled)?,
        val: val.map(|samples| features(samples, in_order)).transpose()?,
        test: test.map(|samples| features(samples, in_order)).transpose()?,
        noisy,
        counted: None,
    })
}

/// Feeds of the test split with noise, one for each rate of the config.
fn noisy(config: &TrainConfig, model: &Model, test: Option<&Arc<Vec<Sample>>>) -> Result<Vec<(f64, Feed)>> {
    let feed = |(&rate, samples): (&f64, &Arc<Vec<Sample>>)| {
        let noise = Some(model.noise(rate, config.noise_form, config.seed)?);
        let options = LoaderOptions { noise, ..LoaderOptions::eval(config.batch_size, config.workers) };
        Ok((rate, Feed::images(samples, model.transform(), options)?))
    };
    config.test_noise.iter().filter_map(|rate| Some((rate, test?))).map(feed).collect()
}
