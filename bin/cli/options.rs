//! Flags and config file: the same names in both, flags win.

use std::path::{Path, PathBuf};
use std::result::Result as Parsed;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use svp::data::{Layout, RandAugment};
use svp::model::{HeadKind, Variant};
use svp::train::{BUILTIN, Method, Precision, Preset, TrainConfig};
use svp::{Error, Result, settings};

use crate::Compute;

/// Adds what a flag leaves open from the config file.
macro_rules! options {
    ($($(#[$meta:meta])* $field:ident: $ty:ty,)*) => {
        /// Everything that can be set on the command line and in a config file.
        #[derive(Debug, Clone, Default, Args, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct Options {
            $($(#[$meta])* pub $field: Option<$ty>,)*
        }

        impl Options {
            /// These settings, and the file's where these say nothing.
            pub fn over(self, file: Options) -> Options {
                Options { $($field: self.$field.or(file.$field),)* }
            }

            /// Names of the settings that are given.
            pub fn given(&self) -> Vec<&'static str> {
                [$((stringify!($field), self.$field.is_some()),)*]
                    .into_iter()
                    .filter_map(|(name, given)| given.then_some(name))
                    .collect()
            }
        }
    };
}

options! {
    /// Settings by name, such as hta/cub200 or vtab/cifar; flags and config file win. list: the names
    #[arg(long, value_name = "NAME")]
    preset: String,
    /// Vim checkpoint, .pth or .safetensors [default: a small built-in one]
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    backbone: PathBuf,
    /// Train this size from scratch instead (with --method full): vim_tiny, vim_small, vim_base, vim_nano, each
    /// published one also with _stride8
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    model: String,
    /// Width, in place of the named size's
    #[arg(long, value_name = "N", help_heading = "Model")]
    embed_dim: usize,
    /// Number of blocks, in place of the named size's
    #[arg(long, value_name = "N", help_heading = "Model")]
    depth: usize,
    /// Pixels a patch, in place of the named size's
    #[arg(long, value_name = "N", help_heading = "Model")]
    patch_size: usize,
    /// Pixels between patches, where the checkpoint does not tell
    #[arg(long, value_name = "N", help_heading = "Model")]
    stride: usize,
    /// Input size; another than the checkpoint's resizes its position embedding
    #[arg(long, value_name = "PIXELS", help_heading = "Model")]
    img_size: usize,
    /// Load a checkpoint although keys are missing, unexpected or of another shape
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Model")]
    allow_mismatch: bool,
    /// Folder or archive of images, or builtin:count, builtin:orientation, builtin:position, builtin:shapes
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    data: PathBuf,
    /// Layout: auto, folder, vtab, json, or a published data set's, such as cub200 or vtab/caltech101 [default: auto]
    #[arg(long, value_name = "LAYOUT", help_heading = "Data")]
    dataset: Layout,
    /// Share of the training images held out where there is no validation split [default: 0.2]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    val_fraction: f64,
    /// Train on the validation images too, as the published program does on VTAB-1k. Nothing is left to choose an epoch
    /// on: the last one is kept, or with --select-on-test the test split chooses
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    train_on_val: bool,
    /// Random crops and mirror images in training [default: true; false for drawn tasks whose labels they change]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    augment: bool,
    /// Smallest share of the picture that a random crop keeps [default: 0.08]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    crop_scale_min: f64,
    /// Mirror half of the training images [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    flip: bool,
    /// Random changes by timm's RandAugment, such as rand-m9-mstd0.5-inc1, or none [default: none]
    #[arg(long, value_name = "POLICY", help_heading = "Data")]
    auto_augment: AutoAugment,
    /// Without a policy: most that brightness, contrast and saturation change [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    color_jitter: f64,
    /// Share of the training images that lose a box to noise (random erasing) [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    reprob: f64,
    /// Mixup: parameter of its Beta distribution, 0 for none [default: 0]
    #[arg(long, value_name = "ALPHA", help_heading = "Data")]
    mixup: f64,
    /// Cutmix: parameter of its Beta distribution, 0 for none [default: 0]
    #[arg(long, value_name = "ALPHA", help_heading = "Data")]
    cutmix: f64,
    /// Share of the batches that are mixed, where --mixup or --cutmix is on [default: 1]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    mixup_prob: f64,
    /// Share of the mixed batches that get cutmix, where both are on [default: 0.5]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    mixup_switch_prob: f64,
    /// Data threads [default: the number of cores]
    #[arg(long, value_name = "N", help_heading = "Data")]
    workers: usize,
    /// What is trained: svp (prompts and head), linear (head), full (everything) [default: svp]
    #[arg(long, value_name = "METHOD", help_heading = "Method")]
    method: MethodFlag,
    /// paper (its equations) or official (as the published program computes) [default: paper]
    #[arg(long, value_name = "VARIANT", help_heading = "Method")]
    variant: VariantFlag,
    /// Hidden width of the inner prompt generators [default: 64]
    #[arg(long, value_name = "N", help_heading = "Method")]
    hidden: usize,
    /// Layers that share a cross prompt generator [default: 8]
    #[arg(long, value_name = "N", help_heading = "Method")]
    group_size: usize,
    /// Inner prompts [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Method")]
    inner: bool,
    /// Cross prompts [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Method")]
    cross: bool,
    /// linear, or two-layer (D -> D/2 -> classes) [default: linear]
    #[arg(long, value_name = "HEAD", help_heading = "Method")]
    head: HeadFlag,
    /// SimAM reweighting of the input image (the published --input_relu)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Method")]
    simam: bool,
    /// [default: 100]
    #[arg(long, value_name = "N", help_heading = "Training")]
    epochs: u32,
    /// Images a batch, or auto: the most that fit into memory, up to 128 [default: 32]
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch_size: BatchSize,
    /// Batches whose mean gradient makes a step [default: 1]
    #[arg(long, value_name = "N", help_heading = "Training")]
    accumulate: usize,
    /// Learning rate at 512 images a step; their number scales it [default: svp 5e-3, linear 2e-2, full 1e-3]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    lr: f64,
    /// Scale --lr by the images of a step / 512, as published [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    lr_scaling: bool,
    /// [default: a twentieth of the epochs, at most 5]
    #[arg(long, value_name = "N", help_heading = "Training")]
    warmup_epochs: u32,
    /// Rate at the start of the warm-up, not scaled [default: 1e-5]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    warmup_lr: f64,
    /// Rate at the end of the cosine, not scaled [default: 1e-5]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    min_lr: f64,
    /// [default: svp and linear 1e-4, full 0.05]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    weight_decay: f64,
    /// Label smoothing [default: 0.1]
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    smoothing: f32,
    /// Rate of stochastic depth at the last block [default: 0.1]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    drop_path: f64,
    /// Keep a moving average of what is trained, with this decay, and save it as ema.safetensors in the end; 0 for
    /// none [default: 0]
    #[arg(long, value_name = "DECAY", help_heading = "Training")]
    ema_decay: f64,
    /// f32; tf32, whose matrix products round their operands; or bf16 activations and frozen weights. Only f32 on
    /// the CPU [default: f32]
    #[arg(long, value_name = "TYPE", help_heading = "Training")]
    precision: PrecisionFlag,
    /// [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    seed: u64,
    /// Choose the best epoch on the test split, as the published program does; the report says so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    select_on_test: bool,
    /// Save every N steps, beside every epoch and about once a minute
    #[arg(long, value_name = "N", help_heading = "Training")]
    save_every: u64,
    /// cuda (or cuda:NUMBER), cpu, emulated (the GPU's kernels run and checked on the CPU, slowly), or auto: cuda
    /// where it can be used, else cpu [default: auto]
    #[arg(long, value_name = "DEVICE", help_heading = "Computing")]
    device: String,
    /// Threads that compute [default: the number of cores]
    #[arg(long, value_name = "N", help_heading = "Computing")]
    threads: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodFlag {
    Svp,
    Linear,
    Full,
}

#[derive(Debug, Clone, Copy, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VariantFlag {
    Paper,
    Official,
}

#[derive(Debug, Clone, Copy, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadFlag {
    Linear,
    TwoLayer,
}

#[derive(Debug, Clone, Copy, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionFlag {
    F32,
    Tf32,
    Bf16,
}

/// A policy, or none.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct AutoAugment(Option<RandAugment>);

impl FromStr for AutoAugment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(AutoAugment(if text == "none" { None } else { Some(text.parse()?) }))
    }
}

impl TryFrom<String> for AutoAugment {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// A number, or what fits.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub enum BatchSize {
    Auto,
    Images(usize),
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self, String> {
        match text {
            "auto" => Ok(BatchSize::Auto),
            _ => text.parse().map(BatchSize::Images).map_err(|_| "a batch size is a number, or auto".into()),
        }
    }
}

impl TryFrom<toml::Value> for BatchSize {
    type Error = String;

    fn try_from(value: toml::Value) -> Parsed<Self, String> {
        match value {
            toml::Value::Integer(n) => n.to_string().parse(),
            toml::Value::String(text) => text.parse(),
            _ => Err("a batch size is a number, or auto".into()),
        }
    }
}

impl Options {
    /// Reads a config file.
    pub fn read(path: &Path) -> Result<Options> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read the config", &e))?;
        settings::parse(path, &text, "keys are the long flags without --; see --help")
    }

    /// These settings, and those of the preset that they name.
    pub fn with_preset(self) -> Result<Options> {
        let Some(name) = &self.preset else { return Ok(self) };
        let settings = Preset::named(name)?.settings;
        if self.data.is_none() {
            let what = format!("the preset {name} is for a data set of yours");
            return Err(Error::input("--data", what, "give its folder or archive"));
        }
        Ok(self.over(settings.try_into().expect("a test reads every preset")))
    }

    /// Where to compute, taken out: it does not change what is trained, and a resumed run may choose it anew.
    pub fn take_compute(&mut self) -> Compute {
        Compute { device: self.device.take(), threads: self.threads.take() }
    }

    /// Fills in the defaults.
    pub fn resolve(self) -> TrainConfig {
        let method = match self.method {
            Some(MethodFlag::Linear) => Method::Linear,
            Some(MethodFlag::Full) => Method::Full,
            Some(MethodFlag::Svp) | None => Method::Svp,
        };
        let data = self.data.unwrap_or_else(|| PathBuf::from(format!("{BUILTIN}orientation")));
        let drawn = data.to_str().is_some_and(|name| name.starts_with(BUILTIN) && !name.ends_with("shapes"));
        let epochs = self.epochs.unwrap_or(100);
        let (lr, weight_decay) = match method {
            Method::Svp => (5e-3, 1e-4),
            Method::Linear => (2e-2, 1e-4),
            Method::Full => (1e-3, 0.05),
        };
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        TrainConfig {
            preset: self.preset,
            backbone: self.backbone,
            model: self.model,
            embed_dim: self.embed_dim,
            depth: self.depth,
            patch_size: self.patch_size,
            stride: self.stride,
            img_size: self.img_size,
            allow_mismatch: self.allow_mismatch.unwrap_or(false),
            data,
            dataset: self.dataset.unwrap_or(Layout::Auto),
            val_fraction: self.val_fraction.unwrap_or(0.2),
            train_on_val: self.train_on_val.unwrap_or(false),
            method,
            variant: match self.variant {
                Some(VariantFlag::Official) => Variant::Official,
                _ => Variant::Paper,
            },
            hidden: self.hidden.unwrap_or(64),
            group_size: self.group_size.unwrap_or(8),
            inner: self.inner.unwrap_or(true),
            cross: self.cross.unwrap_or(true),
            head: match self.head {
                Some(HeadFlag::TwoLayer) => HeadKind::TwoLayer,
                _ => HeadKind::Linear,
            },
            simam: self.simam.unwrap_or(false),
            epochs,
            batch_size: match self.batch_size {
                Some(BatchSize::Images(n)) => n,
                // Until it is known.
                Some(BatchSize::Auto) => 1,
                None => 32,
            },
            accumulate: self.accumulate.unwrap_or(1),
            lr: self.lr.unwrap_or(lr),
            lr_scaling: self.lr_scaling.unwrap_or(true),
            warmup_epochs: self.warmup_epochs.unwrap_or((epochs / 20).min(5)),
            warmup_lr: self.warmup_lr.unwrap_or(1e-5),
            min_lr: self.min_lr.unwrap_or(1e-5),
            weight_decay: self.weight_decay.unwrap_or(weight_decay),
            smoothing: self.smoothing.unwrap_or(0.1),
            drop_path: self.drop_path.unwrap_or(0.1),
            ema_decay: self.ema_decay.unwrap_or(0.0),
            augment: self.augment.unwrap_or(!drawn),
            crop_scale_min: self.crop_scale_min.unwrap_or(0.08),
            flip: self.flip.unwrap_or(true),
            auto_augment: self.auto_augment.and_then(|policy| policy.0),
            color_jitter: self.color_jitter.unwrap_or(0.0),
            reprob: self.reprob.unwrap_or(0.0),
            mixup: self.mixup.unwrap_or(0.0),
            cutmix: self.cutmix.unwrap_or(0.0),
            mixup_prob: self.mixup_prob.unwrap_or(1.0),
            mixup_switch_prob: self.mixup_switch_prob.unwrap_or(0.5),
            precision: match self.precision {
                Some(PrecisionFlag::Bf16) => Precision::Bf16,
                Some(PrecisionFlag::Tf32) => Precision::Tf32,
                Some(PrecisionFlag::F32) | None => Precision::F32,
            },
            seed: self.seed.unwrap_or(0),
            select_on_test: self.select_on_test.unwrap_or(false),
            workers: self.workers.unwrap_or(cores),
            save_every: self.save_every.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_trained() {
        for preset in Preset::all() {
            let (name, data) = (Some(preset.name.clone()), Some("photos".into()));
            let options = Options { preset: name, data, ..Options::default() };
            let config = options.with_preset().unwrap().resolve();
            config.check().unwrap();
            assert_eq!(preset.overrides(&config), [], "{}", preset.name);
            assert_eq!(config.dataset.name(), preset.dataset.name);
        }
    }

    /// Of before there were changes of images, mixed batches, averages and training on all.
    #[test]
    fn older_configs_can_be_read() {
        let config = Options::default().resolve();
        let mut table = toml::Table::try_from(&config).unwrap();
        let augmenting = ["color-jitter", "reprob", "mixup", "cutmix", "mixup-prob", "mixup-switch-prob"];
        for key in augmenting.into_iter().chain(["ema-decay", "train-on-val"]) {
            assert!(table.remove(key).is_some(), "{key}");
        }
        assert_eq!(table.try_into::<TrainConfig>().unwrap(), config);
    }

    /// Flag over file over preset.
    #[test]
    fn who_wins_against_a_preset_is_told() {
        let (preset, data) = (Some("hta/cub200".into()), Some("birds".into()));
        let flags = Options { preset, data, epochs: Some(7), ..Options::default() };
        let file = Options { epochs: Some(9), smoothing: Some(0.2), lr: Some(6e-3), ..Options::default() };
        let config = flags.over(file).with_preset().unwrap().resolve();
        assert_eq!((config.epochs, config.smoothing, config.batch_size), (7, 0.2, 96));
        let told: Vec<_> =
            config.preset_overrides().into_iter().map(|o| (o.setting, o.preset, o.used)).collect();
        let want = [("epochs", "100", "7"), ("smoothing", "0.1", "0.2")];
        assert_eq!(told, want.map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())));
    }
}
