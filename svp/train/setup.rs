//! From a config to a model and its data.

use std::path::Path;
use std::sync::Arc;

use engine::Device;

use super::config::BUILTIN;
use super::{Method, Precision, TrainConfig, Trained};
use crate::checkpoint::{Checkpoint, ClassRow, hash_tensors};
use crate::data::{Dataset, Loader, LoaderOptions, Normalisation, Transform, mapped};
use crate::model::{Classifier, LoadOptions, LoadedVim, Params, Parts, Variant, Vim, VimConfig, load};
use crate::train::Feed;
use crate::{Error, Result};

/// The backbone inside the program: `benches/results` tells how it was made.
static BACKBONE: &[u8] = include_bytes!("../assets/backbone.safetensors");

/// What `--backbone` of the built-in one would be called.
pub const BUILTIN_BACKBONE: &str = "built-in backbone";

/// The built-in checkpoint.
fn builtin_backbone() -> Result<Checkpoint> {
    let path = Path::new(BUILTIN_BACKBONE);
    Checkpoint::from_map(Arc::new(mapped::copy(BACKBONE, path)?), path)
}

/// The frozen backbone of a config, or one with initial values when it names a size.
pub fn backbone(config: &TrainConfig) -> Result<LoadedVim> {
    if let Some(name) = &config.model {
        return from_scratch(config, name);
    }
    let options = LoadOptions {
        img_size: config.img_size,
        stride: config.stride,
        class_row: if config.variant == Variant::Official { ClassRow::First } else { ClassRow::Middle },
        allow_mismatch: config.allow_mismatch,
        seed: config.seed,
    };
    load(&open_backbone(config.backbone.as_deref())?, options)
}

/// The checkpoint of a backbone; `None`: the built-in one.
pub(super) fn open_backbone(path: Option<&Path>) -> Result<Checkpoint> {
    path.map_or_else(builtin_backbone, Checkpoint::open)
}

fn from_scratch(config: &TrainConfig, name: &str) -> Result<LoadedVim> {
    let named = VimConfig::named(name)?;
    let embed_dim = config.embed_dim.unwrap_or(named.embed_dim);
    let patch_size = config.patch_size.unwrap_or(named.patch_size);
    let stride = match (config.stride, config.patch_size) {
        (Some(stride), _) => stride,
        (None, Some(patch_size)) => patch_size,
        (None, None) => named.stride,
    };
    let sized = VimConfig::sized(
        config.img_size.unwrap_or(named.img_size),
        patch_size,
        embed_dim,
        config.depth.unwrap_or(named.depth),
    );
    let mut params = Params::default();
    let vim = Vim::init(VimConfig { stride, ..sized }, &mut params, config.seed)?;
    let hash = hash_tensors(params.iter().map(|(name, value, _)| (name, value)));
    Ok(LoadedVim { vim, params, hash, notes: vec!["backbone with initial values".into()] })
}

/// The data set of a config.
pub fn dataset(config: &TrainConfig) -> Result<Dataset> {
    let data = match config.data.to_str().and_then(|name| name.strip_prefix(BUILTIN)) {
        Some(task) => Dataset::builtin(task)?,
        None => Dataset::open(&config.data, config.dataset, config.seed)?,
    };
    if config.train_on_val {
        return Ok(data.train_on_val());
    }
    data.hold_out(config.seed, config.val_fraction)
}

/// Refuses settings that do not fit the data, before anything is written.
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
    if config.train_on_val && data.test.is_none() {
        let what = "there is no test split: nothing would be left to measure on";
        return Err(Error::input("--train-on-val", what, "leave the flag out"));
    }
    Ok(())
}

/// The training images of a run in its batches; the linear method sees them unchanged.
pub(super) fn train_images(config: &TrainConfig, size: u32, data: &Dataset) -> Result<Feed> {
    let transform = match config.augmentation() {
        Some(augment) => Transform::train(size, Normalisation::IMAGENET, augment),
        None => Transform::eval(size, Normalisation::IMAGENET),
    };
    let options = LoaderOptions {
        mix: config.mix(),
        ..LoaderOptions::train(config.batch_size, config.workers, config.seed)
    };
    Feed::images(&Arc::new(data.train.clone()), transform, options)
}

/// A model with its new parts, and what its trained file will say.
pub fn classifier(
    config: &TrainConfig,
    device: &Device,
    loaded: LoadedVim,
    classes: &[String],
) -> Result<(Classifier, Trained)> {
    let trained = Trained::new(config, &loaded.vim.config, classes, &loaded.hash);
    let parts = Parts {
        svp: config.svp(),
        head: config.head,
        classes: classes.len(),
        simam: config.simam,
        full: config.method == Method::Full,
    };
    let model = Classifier::new(device, loaded.vim, loaded.params, parts, config.seed)?;
    device.allow_tf32(config.precision == Precision::Tf32);
    Ok((model.in_precision(config.precision.dtype())?, trained))
}

/// The splits of a run, ready to be fed.
pub struct Feeds {
    pub train: Feed,
    /// Chooses the epoch; `None`: the last one is kept.
    pub val: Option<Feed>,
    /// `None` without a test split, or when it is the split that selects.
    pub test: Option<Feed>,
}

impl Feeds {
    /// Images of any split that could not be read so far, with the reason.
    pub fn broken(&self) -> Vec<String> {
        [Some(&self.train), self.val.as_ref(), self.test.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(Feed::broken)
            .collect()
    }
}

/// Loaders of the splits; for the linear method, their features.
pub fn feeds(
    config: &TrainConfig,
    model: &Classifier,
    data: &Dataset,
    stop: &dyn Fn() -> bool,
) -> Result<Feeds> {
    let size = model.vim.config.img_size as u32;
    let train = train_images(config, size, data)?;
    let [val, test] = [&data.val, &data.test].map(|split| split.clone().map(Arc::new));
    let (val, test) = if config.select_on_test { (test, None) } else { (val, test) };
    let in_order = LoaderOptions::eval(config.batch_size, config.workers);
    if config.method != Method::Linear {
        let eval = |samples: Option<_>| {
            samples
                .map(|samples| {
                    Feed::images(&samples, Transform::eval(size, Normalisation::IMAGENET), in_order)
                })
                .transpose()
        };
        return Ok(Feeds { train, val: eval(val)?, test: eval(test)? });
    }
    let shuffled = LoaderOptions::train(config.batch_size, config.workers, config.seed);
    let features = |samples, options| {
        Feed::features(
            model,
            &Loader::new(samples, Transform::eval(size, Normalisation::IMAGENET), in_order)?,
            options,
            stop,
        )
    };
    Ok(Feeds {
        train: features(Arc::new(data.train.clone()), shuffled)?,
        val: val.map(|samples| features(samples, in_order)).transpose()?,
        test: test.map(|samples| features(samples, in_order)).transpose()?,
    })
}
