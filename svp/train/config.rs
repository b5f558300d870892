//! Everything a run depends on, with defaults and presets resolved, as it is written to the run folder.

use std::fmt;
use std::path::PathBuf;

use engine::{DType, Device};
use serde::{Deserialize, Serialize};

use super::class_weights::ClassWeights;
use super::lr_range::Rate;
use super::optim::HeadRates;
use super::schedule::{Decay, Schedule};
use super::state::Position;
use super::stepper::StepSettings;
use crate::backbones::pos_embed::{ClassRow, Interpolation};
use crate::backbones::{LoadOptions, Normalise, Pool, Reading, Sizes};
use crate::checkpoint::Weights;
use crate::data::{Augment, Layout, Mix, NoiseForm, RandAugment, Sampler};
use crate::heads::HeadKind;
use crate::methods::{Chosen, Entry, METHODS, OptimizerKind};
use crate::{Error, Result};

/// Type of the activations and of the frozen weights of matrix products. The residual stream, the trained parameters,
/// their gradients and every sum stay f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// f32, except that the operands of matrix products are rounded to TF32 on devices that multiply faster that way.
    Tf32,
    /// Activations and frozen weights in bf16.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

impl Precision {
    /// Type in which activations and frozen weights are stored.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::Bf16 => DType::Bf16,
        }
    }

    /// Checks that `device` can compute in this precision.
    ///
    /// # Errors
    /// TF32 on a device that launches no kernels, such as the CPU.
    pub fn check(self, device: &Device) -> Result<()> {
        if self == Precision::Tf32 && device.launcher().is_none() {
            let what = format!("the {} device has no products of TF32", device.name());
            return Err(Error::input("--precision", what, "use f32 or bf16, or --device cuda or emulated"));
        }
        Ok(())
    }
}

/// What is said of an input that a run's config names.
const GONE: &str = "is not there, and the run was made with it";

/// Prefix of `--data` for tasks that the program draws itself: `builtin:TASK`.
pub const BUILTIN: &str = "builtin:";

/// The settings of a run. The keys are those of the command line and of a config file; keys that are no field are
/// passed to [`Chosen`], which refuses those that are no setting of the method either.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainConfig {
    /// Name of the preset that supplied the settings which neither a flag nor a config file gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Checkpoint of the backbone. The built-in one is used where both this and `model` are `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<PathBuf>,
    /// Which weights of the checkpoint are taken where it holds a moving average too; `None` takes the model's, or the
    /// average where that alone is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Name of a size to train from scratch instead of loading a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Channels of a token, in place of those of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embed_dim: Option<usize>,
    /// Number of blocks, in place of that of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Side of a patch in pixels, in place of that of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_size: Option<usize>,
    /// Pixels between patches, in place of those of the model, or where the checkpoint's shapes leave them open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Side of the input images in pixels. A side other than the checkpoint's resizes the position embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub img_size: Option<usize>,
    /// Heads of the attention, where the checkpoint does not tell, or in place of those of `model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// How images are normalised, in place of what comes with the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
    /// What the head reads, in place of what is usual for the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// How the position embedding is resized, in place of the way of the backbone's family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pos_embed: Option<Interpolation>,
    /// Load a checkpoint with missing, unexpected or mis-shaped tensors; missing ones get initial values.
    pub allow_mismatch: bool,
    /// Folder of the data set, or `builtin:TASK`.
    pub data: PathBuf,
    /// How the files of the data set are arranged.
    pub dataset: Layout,
    /// Read images that lists in the data set name outside of it.
    #[serde(default)]
    pub allow_outside: bool,
    /// Share of the training images held out for validation where the data set has no validation split, 0 to 0.9.
    pub val_fraction: f64,
    /// Share of the images held out for test where nothing says which images are for what, 0 to 0.9.
    #[serde(default = "fifth")]
    pub test_fraction: f64,
    /// Turn pictures upright that were taken with a turned camera, by their EXIF orientation.
    #[serde(default)]
    pub exif_orientation: bool,
    /// Train on the validation images too. The last epoch is then kept, unless the test split selects.
    #[serde(default)]
    pub train_on_val: bool,
    /// The method; its settings stand in a table of its name.
    #[serde(flatten)]
    pub method: Chosen,
    /// Which row of a checkpoint's position embedding is taken for the class token's when the embedding is resized.
    pub class_row: ClassRow,
    /// The classification head.
    pub head: HeadKind,
    /// Reweight the input images by SimAM (`docs/recipe.md`, "SimAM on the input").
    pub simam: bool,
    /// Passes over the training images, at least 1.
    pub epochs: u32,
    /// Images of a batch, at least 1.
    pub batch_size: usize,
    /// Batches whose mean gradient makes a step, at least 1.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// The optimiser that makes the steps.
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Momentum of SGD; the other optimisers ignore it.
    #[serde(default = "momentum")]
    pub momentum: f64,
    /// Learning rate for steps of 512 images, or for steps of any size where `lr_scaling` is off.
    pub lr: Rate,
    /// Multiply the learning rate by the images of a step over 512.
    pub lr_scaling: bool,
    /// Epochs over which the rate rises linearly from `warmup_lr`.
    pub warmup_epochs: u32,
    /// Learning rate at the beginning of the warm-up; it is not scaled.
    pub warmup_lr: f64,
    /// Learning rate at the end of the cosine; it is not scaled.
    pub min_lr: f64,
    /// How the rate falls after the warm-up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lr_decay: Decay,
    /// Weight decay of the parameters that decay (see [`OptimizerKind::decays`]).
    pub weight_decay: f64,
    /// Learning rate of the head over that of all else.
    #[serde(default = "all", skip_serializing_if = "is_one")]
    pub head_lr_scale: f64,
    /// Weight decay of the head's parameters, in place of `weight_decay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_weight_decay: Option<f64>,
    /// Label smoothing: the share of a target that is spread evenly over all classes.
    pub smoothing: f32,
    /// Rate of stochastic depth at the last block; it grows linearly from 0 at the first.
    pub drop_path: f64,
    /// Decay of the moving average of the trained parameters; 0 keeps no average.
    #[serde(default)]
    pub ema_decay: f64,
    /// Random crops and mirror images in training.
    pub augment: bool,
    /// Smallest share of an image's area that a random crop keeps.
    pub crop_scale_min: f64,
    /// Mirror half of the training images.
    pub flip: bool,
    /// RandAugment policy from which changes of training images are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_augment: Option<RandAugment>,
    /// Largest relative change of brightness, contrast and saturation; only used without a policy.
    #[serde(default)]
    pub color_jitter: f64,
    /// Share of the training images in which a box is replaced by noise.
    #[serde(default)]
    pub reprob: f64,
    /// Parameter of the Beta distribution of mixup; 0 turns it off.
    #[serde(default)]
    pub mixup: f64,
    /// Parameter of the Beta distribution of cutmix; 0 turns it off.
    #[serde(default)]
    pub cutmix: f64,
    /// Share of the batches that are mixed.
    #[serde(default = "all")]
    pub mixup_prob: f64,
    /// Share of the mixed batches that get cutmix, where both are on.
    #[serde(default = "half")]
    pub mixup_switch_prob: f64,
    /// How an epoch draws its training images.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampler: Sampler,
    /// How much the classes weigh in the loss.
    #[serde(default, skip_serializing_if = "is_default")]
    pub class_weights: ClassWeights,
    /// Epochs without a better score after which the run ends early; 0 for none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub patience: u32,
    /// Run folder or trained file whose trained tensors are the initial values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
    /// Run folder or trained file that tells which of the method's parameters are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_from: Option<PathBuf>,
    /// Type of activations and frozen weights.
    #[serde(default)]
    pub precision: Precision,
    /// Seed of every random draw of the run.
    pub seed: u64,
    /// Choose the best epoch on the test split, as the published program does (`docs/recipe.md`, "Choosing the epoch").
    pub select_on_test: bool,
    /// Rates of Gaussian noise, 0 to 1, at each of which the test is made once more in the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test_noise: Vec<f64>,
    /// How that noise enters the pictures.
    #[serde(default, skip_serializing_if = "is_default")]
    pub noise_form: NoiseForm,
    /// Threads that read and change images, at least 1.
    pub workers: usize,
    /// Also save the state after every so many steps. With 0 it is saved only after each epoch and about once a minute.
    pub save_every: u64,
}

// Serde defaults for configs that predate these keys.

fn one() -> usize {
    1
}

/// Default momentum of SGD, as published for prompts (Jia et al. 2022).
pub const MOMENTUM: f64 = 0.9;

fn momentum() -> f64 {
    MOMENTUM
}

fn all() -> f64 {
    1.0
}

fn is_one(x: &f64) -> bool {
    *x == 1.0
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn half() -> f64 {
    0.5
}

fn fifth() -> f64 {
    0.2
}

impl TrainConfig {
    /// The settings that a training step depends on.
    pub fn step_settings(&self) -> StepSettings {
        StepSettings {
            features: self.keeps_features(),
            optimizer: self.optimizer,
            momentum: self.momentum,
            smoothing: self.smoothing,
            drop_path: self.drop_path,
            seed: self.seed,
            weight_decay: self.weight_decay,
            head: self.head_rates(),
            ema_decay: self.ema_decay,
            accumulate: self.accumulate,
        }
    }

    /// Rates of the head, where they differ from those of all else.
    fn head_rates(&self) -> Option<HeadRates> {
        let weight_decay = self.head_weight_decay.unwrap_or(self.weight_decay);
        let apart = self.head_lr_scale != 1.0 || weight_decay != self.weight_decay;
        apart.then_some(HeadRates { lr_scale: self.head_lr_scale, weight_decay })
    }

    /// Steps of an epoch of so many batches: full groups of `accumulate` batches, and at least 1.
    pub fn steps_per_epoch(&self, batches: usize) -> usize {
        (batches / self.accumulate).max(1)
    }

    /// The split that chooses the epoch, or `None` where the last epoch is kept.
    pub fn selects_on(&self) -> Option<&'static str> {
        match (self.select_on_test, self.train_on_val) {
            (true, _) => Some("test"),
            (false, false) => Some("val"),
            (false, true) => None,
        }
    }

    /// Whether a run that stands at `position` ends there, because no epoch was better for as many as `patience`.
    pub fn out_of_patience(&self, position: &Position) -> bool {
        let waited = position.best.map_or(0, |best| position.epoch.saturating_sub(best.epoch));
        self.patience > 0 && waited >= self.patience
    }

    /// The learning-rate schedule. As published, the rate is scaled by the images of a step over 512 (`docs/recipe.md`,
    /// "Learning rate").
    pub fn schedule(&self) -> Schedule {
        Schedule {
            lr: self.lr.value() * self.lr_scale(),
            warmup_lr: self.warmup_lr,
            min_lr: self.min_lr,
            warmup_epochs: self.warmup_epochs,
            epochs: self.epochs,
            decay: self.lr_decay,
        }
    }

    /// The rate of a step over `lr`.
    pub fn lr_scale(&self) -> f64 {
        if self.lr_scaling { (self.batch_size * self.accumulate) as f64 / 512.0 } else { 1.0 }
    }

    /// Whether steps are fed the frozen backbone's features, which are computed once.
    pub fn keeps_features(&self) -> bool {
        self.method.entry.keeps_features
    }

    /// How to read the backbone's checkpoint.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            img_size: self.img_size,
            stride: self.stride,
            class_row: self.class_row,
            interpolation: self.pos_embed,
            reading: self.reading(),
            allow_mismatch: self.allow_mismatch,
            seed: self.seed,
        }
    }

    /// What replaces sizes of the backbone.
    pub fn sizes(&self) -> Sizes {
        let &TrainConfig { img_size, patch_size, stride, embed_dim, depth, .. } = self;
        Sizes { img_size, patch_size, stride, embed_dim, depth, reading: self.reading() }
    }

    fn reading(&self) -> Reading {
        Reading { heads: self.heads, normalise: self.normalise, pool: self.pool }
    }

    /// Random changes of training images; `None` where features are cached, which cannot change.
    pub fn augmentation(&self) -> Option<Augment> {
        let wanted = self.augment && !self.keeps_features();
        wanted.then_some(Augment {
            scale_min: self.crop_scale_min,
            flip: self.flip,
            auto: self.auto_augment,
            colour_jitter: self.color_jitter,
            erase: self.reprob,
        })
    }

    /// Mixing of training batches; `None` where features are cached, which cannot be mixed.
    pub fn mix(&self) -> Option<Mix> {
        let wanted = self.mixup + self.cutmix > 0.0 && !self.keeps_features();
        wanted.then_some(Mix {
            mixup: self.mixup,
            cutmix: self.cutmix,
            prob: self.mixup_prob,
            switch_prob: self.mixup_switch_prob,
        })
    }

    /// The config with absolute paths of its inputs.
    ///
    /// # Errors
    /// A working directory that is gone.
    pub(super) fn with_absolute_paths(self) -> Result<Self> {
        let absolute = |path: PathBuf| std::path::absolute(&path).map_err(|e| Error::io(&path, "find", &e));
        let data = if self.draws_data() { self.data } else { absolute(self.data)? };
        let backbone = self.backbone.map(absolute).transpose()?;
        let [init_from, prune_from] =
            [self.init_from, self.prune_from].map(|run| run.map(absolute).transpose());
        let (init_from, prune_from) = (init_from?, prune_from?);
        Ok(TrainConfig { data, backbone, init_from, prune_from, ..self })
    }

    /// Whether the program draws the data itself.
    pub fn draws_data(&self) -> bool {
        self.data.to_str().is_some_and(|data| data.starts_with(BUILTIN))
    }

    /// Checks that the inputs of a run are where its config says.
    ///
    /// # Errors
    /// An input that is not there, with the flag that says where it is now.
    pub(super) fn check_places(&self) -> Result<()> {
        self.check_data_place()?;
        self.check_backbone_place()
    }

    /// Checks that the data set of a run is where its config says.
    ///
    /// # Errors
    /// Data that are not there.
    pub fn check_data_place(&self) -> Result<()> {
        if self.draws_data() || self.data.exists() {
            return Ok(());
        }
        Err(Error::path(&self.data, GONE, "say where it is now with --data"))
    }

    /// Checks that the backbone of a run is where its config says.
    ///
    /// # Errors
    /// A checkpoint that is not there.
    pub fn check_backbone_place(&self) -> Result<()> {
        match self.backbone.as_deref().filter(|path| !path.exists()) {
            Some(path) => Err(Error::path(path, GONE, "say where it is now with --backbone")),
            None => Ok(()),
        }
    }

    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// The first setting that cannot work, by its flag.
    pub fn check(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x >= 0.0;
        let wrong = |flag: &str, what: String, hint: &str| Err(Error::input(format!("--{flag}"), what, hint));
        if self.epochs == 0 || self.batch_size == 0 || self.accumulate == 0 || self.workers == 0 {
            return wrong(
                "epochs, --batch-size, --accumulate, --workers",
                "must be at least 1".into(),
                "leave them out for defaults",
            );
        }
        for (flag, value) in [
            ("lr", if self.lr == Rate::Auto { 0.0 } else { self.lr.value() }),
            ("weight-decay", self.weight_decay),
            ("head-lr-scale", self.head_lr_scale),
            ("head-weight-decay", self.head_weight_decay.unwrap_or(0.0)),
            ("warmup-lr", self.warmup_lr),
            ("min-lr", self.min_lr),
        ] {
            if !positive(value) {
                return wrong(flag, format!("{value} is not a rate"), "use a finite number of at least 0");
            }
        }
        for (flag, value, most) in [
            ("smoothing", f64::from(self.smoothing), 0.999),
            ("drop-path", self.drop_path, 0.999),
            ("momentum", self.momentum, 0.999_999),
            ("ema-decay", self.ema_decay, 0.999_999),
            ("val-fraction", self.val_fraction, 0.9),
            ("test-fraction", self.test_fraction, 0.9),
            ("crop-scale-min", self.crop_scale_min, 1.0),
            ("color-jitter", self.color_jitter, 1.0),
            ("reprob", self.reprob, 1.0),
            ("mixup", self.mixup, 100.0),
            ("cutmix", self.cutmix, 100.0),
            ("mixup-prob", self.mixup_prob, 1.0),
            ("mixup-switch-prob", self.mixup_switch_prob, 1.0),
        ] {
            if !(positive(value) && value <= most) {
                return wrong(flag, format!("{value} is out of range"), &format!("use 0 to {most}"));
            }
        }
        if let Some(rate) = self.test_noise.iter().find(|rate| !(positive(**rate) && **rate <= 1.0)) {
            return wrong("test-noise", format!("{rate} is out of range"), "use rates of 0 to 1");
        }
        let changed = self.auto_augment.is_some() || self.color_jitter > 0.0 || self.reprob > 0.0;
        if changed && !self.augment {
            return wrong(
                "augment",
                "is false, so images are not changed".into(),
                "add --augment, or leave out --auto-augment, --color-jitter and --reprob",
            );
        }
        if self.patience > 0 && self.selects_on().is_none() {
            return wrong(
                "patience",
                "no split says which epoch is better, as --train-on-val trains on it".into(),
                "leave one of the two out",
            );
        }
        if self.backbone.is_some() && self.model.is_some() {
            return wrong(
                "model",
                "trains from scratch, --backbone from a checkpoint".into(),
                "give one of the two",
            );
        }
        let reads = |entry: &Entry| entry.survey.as_ref().is_some_and(|surveyor| surveyor.reads_run);
        if self.prune_from.is_some() && !reads(self.method.entry) {
            let able: Vec<_> = METHODS.iter().filter(|entry| reads(entry)).map(|entry| entry.name).collect();
            let what = format!("--method {} has nothing that is left out", self.method.entry.name);
            return wrong("prune-from", what, &format!("use it with {}", able.join(", ")));
        }
        if self.prune_from.is_some() && self.init_from.is_some() {
            return wrong(
                "prune-from",
                "trains from initial values, --init-from from those of a run".into(),
                "give one of the two",
            );
        }
        if self.model.is_some() && !self.method.entry.whole_backbone {
            return wrong(
                "model",
                "a backbone with random values is of no use frozen".into(),
                "add --method full",
            );
        }
        Ok(())
    }
}
