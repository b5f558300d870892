//! Everything a run depends on, resolved: what is written to the run folder.

use std::path::PathBuf;

use engine::{DType, Device};
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::stepper::StepSettings;
use crate::backbones::LoadOptions;
use crate::backbones::pos_embed::ClassRow;
use crate::data::{Augment, Layout, Mix, RandAugment};
use crate::heads::HeadKind;
use crate::methods::{Chosen, OptimizerKind};
use crate::{Error, Result};

/// Type of the activations and of the frozen weights of matrix products. The residual stream, what is trained,
/// gradients of it, and every sum are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    /// f32, but the operands of matrix products are rounded to TF32 where the device multiplies faster so.
    Tf32,
    Bf16,
}

impl Precision {
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::Bf16 => DType::Bf16,
        }
    }

    /// Refuses what a device does not compute in.
    pub fn check(self, device: &Device) -> Result<()> {
        if self != Precision::F32 && device.launcher().is_none() {
            let what = format!("the {} device computes in f32", device.name());
            return Err(Error::input("--precision", what, "use f32, or --device cuda or emulated"));
        }
        Ok(())
    }
}

/// The data drawn by code, as `--data` names it.
pub const BUILTIN: &str = "builtin:";

/// A run. The keys are those of the command line and of a config file; unknown ones are refused by [`Chosen`], which
/// gets what is left over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainConfig {
    /// Name of the preset that gave what neither a flag nor a config file gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Checkpoint of the backbone; `None` with no `model`: the built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<PathBuf>,
    /// A size to train from scratch instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embed_dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub img_size: Option<usize>,
    pub allow_mismatch: bool,
    /// A folder, or `builtin:TASK`.
    pub data: PathBuf,
    pub dataset: Layout,
    pub val_fraction: f64,
    /// Train on the validation images too. Then the last epoch is kept, unless the test split selects.
    #[serde(default)]
    pub train_on_val: bool,
    /// The method, and in a table by its name its settings.
    #[serde(flatten)]
    pub method: Chosen,
    /// Which row of a checkpoint's position embedding is the class token's when it is resized.
    pub class_row: ClassRow,
    pub head: HeadKind,
    pub simam: bool,
    pub epochs: u32,
    pub batch_size: usize,
    /// Batches whose mean gradient makes a step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// What makes the steps.
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Of SGD.
    #[serde(default = "momentum")]
    pub momentum: f64,
    /// At a batch of 512 unless `lr_scaling` is off.
    pub lr: f64,
    pub lr_scaling: bool,
    pub warmup_epochs: u32,
    pub warmup_lr: f64,
    pub min_lr: f64,
    pub weight_decay: f64,
    pub smoothing: f32,
    pub drop_path: f64,
    /// Of the moving average of what is trained; 0: there is none.
    #[serde(default)]
    pub ema_decay: f64,
    /// Random crops and mirror images in training.
    pub augment: bool,
    pub crop_scale_min: f64,
    pub flip: bool,
    /// Changes of training images drawn from a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_augment: Option<RandAugment>,
    /// Most that brightness, contrast and saturation change, where there is no policy.
    #[serde(default)]
    pub color_jitter: f64,
    /// Share of the training images that lose a box to noise.
    #[serde(default)]
    pub reprob: f64,
    /// Parameters of the Beta distributions; 0: off.
    #[serde(default)]
    pub mixup: f64,
    #[serde(default)]
    pub cutmix: f64,
    /// Share of the batches that are mixed, and of those that get cutmix where both are on.
    #[serde(default = "all")]
    pub mixup_prob: f64,
    #[serde(default = "half")]
    pub mixup_switch_prob: f64,
    #[serde(default)]
    pub precision: Precision,
    pub seed: u64,
    /// Choose the best epoch on the test split, as the published program does.
    pub select_on_test: bool,
    /// Data threads.
    pub workers: usize,
    /// Save the state every so many steps too (0: at epochs, and about once a minute).
    pub save_every: u64,
}

// Serde defaults for configs that predate these keys.

fn one() -> usize {
    1
}

/// Of SGD, as published for prompts (Jia et al. 2022).
pub const MOMENTUM: f64 = 0.9;

fn momentum() -> f64 {
    MOMENTUM
}

fn all() -> f64 {
    1.0
}

fn half() -> f64 {
    0.5
}

impl TrainConfig {
    /// What each step depends on.
    pub fn step_settings(&self) -> StepSettings {
        StepSettings {
            features: self.keeps_features(),
            optimizer: self.optimizer,
            momentum: self.momentum,
            smoothing: self.smoothing,
            drop_path: self.drop_path,
            seed: self.seed,
            weight_decay: self.weight_decay,
            ema_decay: self.ema_decay,
            accumulate: self.accumulate,
        }
    }

    /// Whole steps of an epoch of so many batches.
    pub fn steps_per_epoch(&self, batches: usize) -> usize {
        (batches / self.accumulate).max(1)
    }

    /// The split that chooses the epoch; `None`: the last one is kept.
    pub fn selects_on(&self) -> Option<&'static str> {
        match (self.select_on_test, self.train_on_val) {
            (true, _) => Some("test"),
            (false, false) => Some("val"),
            (false, true) => None,
        }
    }

    /// The learning-rate schedule, rates scaled as published: lr x batch / 512, by the images of a
    /// step.
    pub fn schedule(&self) -> Schedule {
        let scale = if self.lr_scaling { (self.batch_size * self.accumulate) as f64 / 512.0 } else { 1.0 };
        Schedule {
            lr: self.lr * scale,
            warmup_lr: self.warmup_lr,
            min_lr: self.min_lr,
            warmup_epochs: self.warmup_epochs,
            epochs: self.epochs,
        }
    }

    /// Whether steps see the frozen backbone's features, computed once.
    pub fn keeps_features(&self) -> bool {
        self.method.entry.keeps_features
    }

    /// How the backbone's checkpoint is read.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            img_size: self.img_size,
            stride: self.stride,
            class_row: self.class_row,
            allow_mismatch: self.allow_mismatch,
            seed: self.seed,
        }
    }

    /// Random changes of training images; none for cached features.
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

    /// Mixing of training batches; none for cached features.
    pub fn mix(&self) -> Option<Mix> {
        let wanted = self.mixup + self.cutmix > 0.0 && !self.keeps_features();
        wanted.then_some(Mix {
            mixup: self.mixup,
            cutmix: self.cutmix,
            prob: self.mixup_prob,
            switch_prob: self.mixup_switch_prob,
        })
    }

    /// Refuses settings that cannot work, naming the flag.
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
            ("lr", self.lr),
            ("weight-decay", self.weight_decay),
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
        let changed = self.auto_augment.is_some() || self.color_jitter > 0.0 || self.reprob > 0.0;
        if changed && !self.augment {
            return wrong(
                "augment",
                "is false, so images are not changed".into(),
                "add --augment, or leave out --auto-augment, --color-jitter and --reprob",
            );
        }
        if self.backbone.is_some() && self.model.is_some() {
            return wrong(
                "model",
                "trains from scratch, --backbone from a checkpoint".into(),
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
