//! Flags and config file: the same names in both, flags win.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use svp::backbones::pos_embed::{ClassRow, Interpolation};
use svp::backbones::{FAMILIES, Family, Normalise, Pool, Reading, Sizes};
use svp::checkpoint::Weights;
use svp::data::text::read_settings;
use svp::data::{Layout, NoiseForm, Sampler};
use svp::heads::{HEADS, HeadKind};
use svp::methods::{Chosen, Defaults, Entry, METHODS, OptimizerKind, default_on};
use svp::pass::Spec;
use svp::train::{
    BUILTIN, ClassWeights, Decay, Defaults as RunDefaults, MOMENTUM, Preset, Rate, TrainConfig, backbone_spec,
};
use svp::{Error, Result};
use toml::Table;

use super::Compute;
use super::method_flags::{self, MethodSettings};
use super::values::{AutoAugment, BatchSize, PrecisionChoice, Shares, methods, word};

/// Declares the settings of a run. Each has its help, the form of its flag, its name and type, and its default where it
/// has one; after `=>` stands a default in words that depends on other settings. From these come the flags with their
/// help, the keys of files, and a method of the setting's name that returns the value or the default.
macro_rules! options {
    ($(
        $(#[doc = $doc:literal])*
        #[arg($($arg:tt)*)]
        $field:ident: $ty:ty $(= $default:expr)? $(=> $words:expr)?,
    )*) => {
        /// Everything that can be set on the command line and in a config file.
        #[derive(Debug, Clone, Default, Args, Deserialize)]
        #[serde(rename_all = "kebab-case", default)]
        pub struct Options {
            $(
                $(#[doc = $doc])*
                #[arg(long, help = help(&[$($doc),*], None $(.or(Some(shown(&$default))))? $(.or(Some($words)))?), $($arg)*)]
                pub $field: Option<$ty>,
            )*
            /// Settings of methods.
            #[command(flatten)]
            #[serde(skip)]
            pub method_settings: MethodSettings,
        }

        impl Options {
            /// Names of the settings that do not belong to a method.
            const NAMES: &[&str] = &[$(stringify!($field)),*];

            /// Fills settings that are not given from `file`.
            pub fn over(self, file: Options) -> Options {
                Options {
                    $($field: self.$field.or(file.$field),)*
                    method_settings: self.method_settings.over(file.method_settings),
                }
            }

            /// Names of the settings that are given.
            pub fn given(&self) -> Vec<&str> {
                [$((stringify!($field), self.$field.is_some()),)*]
                    .into_iter()
                    .filter_map(|(name, given)| given.then_some(name))
                    .chain(self.method_settings.given())
                    .collect()
            }

            $($(
                fn $field(&self) -> $ty {
                    self.$field.clone().unwrap_or($default)
                }
            )?)*
        }
    };
}

/// Help text with the default at its end.
fn help(lines: &[&str], default: Option<String>) -> String {
    let text = lines.concat().trim().to_string();
    default.map_or(text.clone(), |default| format!("{text} [default: {default}]").trim().to_string())
}

/// A default as help shows it: `0.2`, `1e-5`, `svp`.
fn shown(default: &dyn std::fmt::Debug) -> String {
    let text = format!("{default:?}");
    text.trim_matches('"').trim_end_matches(".0").to_string()
}

/// A default that is the method's: `svp 5e-3, linear 2e-2, ...`; then those of a narrow backbone that differ.
fn by_method(of: fn(&Defaults) -> String) -> String {
    let [published, narrow] = ["vim_small", "vim_nano"].map(|size| {
        let spec = backbone_spec(None, None, Some(size), &Sizes::default()).expect("a known size");
        let default = |entry: &&Entry| {
            let chosen = Chosen::named(entry.name).expect("a name of the registry");
            format!("{} {}", entry.name, of(&chosen.defaults(&spec)))
        };
        METHODS.iter().map(default).collect::<Vec<_>>()
    });
    let others = narrow.into_iter().filter(|default| !published.contains(default)).collect::<Vec<_>>();
    match others.is_empty() {
        true => published.join(", "),
        false => format!("{}; {NARROW}: {}", published.join(", "), others.join(", ")),
    }
}

/// The default method of each family of backbones: `svp; on a ViT ivpt`.
fn by_family() -> String {
    let [first, others @ ..] = &FAMILIES;
    let other = |family: &&Family| format!("; on a {} {}", family.title, default_on(family.name).name);
    default_on(first.name).name.to_string() + &others.iter().map(other).collect::<String>()
}

/// Which backbones have defaults of their own, in help.
const NARROW: &str = "on a backbone as narrow as the built-in one";

/// A default of the run that depends on the backbone.
fn by_width(of: fn(&RunDefaults) -> String) -> String {
    format!("{}; {NARROW}: {}", of(&RunDefaults::PUBLISHED), of(&RunDefaults::NARROW))
}

options! {
    /// Settings by name: of a data set (hta/cub200, vtab/cifar), of a method (vpt), or both (hta/cub200+vpt); flags and
    /// config file win. list: the names
    #[arg(value_name = "NAME")]
    preset: String,
    /// Checkpoint of a backbone, .pth, .safetensors or .npz [default: a small built-in one]
    #[arg(value_name = "FILE", help_heading = "Model")]
    backbone: PathBuf,
    /// Which weights of a backbone's .pth that holds both: model, or ema (their moving average)
    #[arg(value_name = "WEIGHTS", value_parser = word::<Weights>, help_heading = "Model")]
    weights: Weights => "model, or ema where no others are there".into(),
    /// Train this size from scratch instead (with --method full): vim_tiny, vim_small, vim_base, vim_nano,
    /// each published one also with _stride8; vit_tiny, vit_small, vit_base, vit_large, each also with _patch32; vit_huge
    #[arg(value_name = "NAME", help_heading = "Model")]
    model: String,
    /// Width, in place of the named size's
    #[arg(value_name = "N", help_heading = "Model")]
    embed_dim: usize,
    /// Number of blocks, in place of the named size's
    #[arg(value_name = "N", help_heading = "Model")]
    depth: usize,
    /// Pixels a patch, in place of the named size's
    #[arg(value_name = "N", help_heading = "Model")]
    patch_size: usize,
    /// Pixels between patches, where the checkpoint does not tell
    #[arg(value_name = "N", help_heading = "Model")]
    stride: usize,
    /// Input size; another than the checkpoint's resizes its position embedding
    #[arg(value_name = "PIXELS", help_heading = "Model")]
    img_size: usize,
    /// Heads of a ViT's attention, where the checkpoint does not tell, or in place of the named size's
    #[arg(value_name = "N", help_heading = "Model")]
    heads: usize,
    /// How images for a ViT are normalised: imagenet (its mean and deviation) or half (0.5 for both)
    #[arg(value_name = "HOW", value_parser = word::<Normalise>, help_heading = "Model")]
    normalise: Normalise => "as the weights were trained, which the log tells".into(),
    /// What the head reads of a ViT: class (the class token's row), mean (the norm of the mean of all other rows), or mae
    /// (the same by a norm of its own, as MAE is fine-tuned)
    #[arg(value_name = "HOW", value_parser = word::<Pool>, help_heading = "Model")]
    pool: Pool => "mae for MAE's weights, else class".into(),
    /// How a position embedding is resized: timm (cubic, antialiased), bicubic, bilinear, zoom (corners aligned), dino
    #[arg(value_name = "HOW", value_parser = word::<Interpolation>, help_heading = "Model")]
    pos_embed: Interpolation => "bicubic for a Vim, timm for a ViT".into(),
    /// Which row of a checkpoint's position embedding is taken for the class token's when it is resized: middle (where
    /// it is) or first (as the published loader takes it)
    #[arg(value_name = "ROW", value_parser = word::<ClassRow>, help_heading = "Model")]
    class_row: ClassRow => "the method's: middle".into(),
    /// Load a checkpoint although keys are missing, unexpected or of another shape
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Model")]
    allow_mismatch: bool = false,
    /// Folder or archive of images, a csv or jsonl file of path, label and perhaps split, or builtin:count, builtin:orientation, builtin:position, builtin:shapes
    #[arg(value_name = "PATH", help_heading = "Data")]
    data: PathBuf,
    /// Layout: auto, folder, csv, metadata, tables, lists, vtab, json, or a published data set's, such as cub200 or vtab/caltech101
    #[arg(value_name = "LAYOUT", help_heading = "Data")]
    dataset: Layout => "auto".into(),
    /// Read images that lists in the data set name outside of it
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    allow_outside: bool = false,
    /// Share of the training images held out where there is no validation split
    #[arg(value_name = "SHARE", help_heading = "Data")]
    val_fraction: f64 = 0.2,
    /// Share of the images held out for test where nothing says which images are for what, as with class folders
    /// alone; 0 for none
    #[arg(value_name = "SHARE", help_heading = "Data")]
    test_fraction: f64 = 0.2,
    /// Turn pictures upright by their EXIF orientation; presets of published data sets do not
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    exif_orientation: bool = true,
    /// Train on the validation images too, as the published program does on VTAB-1k. Nothing is left to
    /// choose an epoch on: the last one is kept, or with --select-on-test the test split chooses
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    train_on_val: bool = false,
    /// Random crops and mirror images in training
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    augment: bool => "true; false for drawn tasks whose labels they change".into(),
    /// Smallest share of the picture that a random crop keeps
    #[arg(value_name = "SHARE", help_heading = "Data")]
    crop_scale_min: f64 => by_width(|d| d.crop_scale_min.to_string()),
    /// Mirror half of the training images
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Data")]
    flip: bool = true,
    /// Random changes by timm's RandAugment, such as rand-m9-mstd0.5-inc1, or none
    #[arg(value_name = "POLICY", help_heading = "Data")]
    auto_augment: AutoAugment => "none".into(),
    /// Without a policy: most that brightness, contrast and saturation change
    #[arg(value_name = "SHARE", help_heading = "Data")]
    color_jitter: f64 = 0.0,
    /// Share of the training images that lose a box to noise (random erasing)
    #[arg(value_name = "SHARE", help_heading = "Data")]
    reprob: f64 = 0.0,
    /// Mixup: parameter of its Beta distribution, 0 for none
    #[arg(value_name = "ALPHA", help_heading = "Data")]
    mixup: f64 = 0.0,
    /// Cutmix: parameter of its Beta distribution, 0 for none
    #[arg(value_name = "ALPHA", help_heading = "Data")]
    cutmix: f64 = 0.0,
    /// Share of the batches that are mixed, where --mixup or --cutmix is on
    #[arg(value_name = "SHARE", help_heading = "Data")]
    mixup_prob: f64 = 1.0,
    /// Share of the mixed batches that get cutmix, where both are on
    #[arg(value_name = "SHARE", help_heading = "Data")]
    mixup_switch_prob: f64 = 0.5,
    /// How an epoch draws its images: shuffled (each once), or balanced (as many, with replacement, so that all classes
    /// are equally likely)
    #[arg(value_name = "HOW", value_parser = word::<Sampler>, help_heading = "Data")]
    sampler: Sampler => "shuffled".into(),
    /// Data threads
    #[arg(value_name = "N", help_heading = "Data")]
    workers: usize => "the number of cores".into(),
    /// What adapts the backbone; --method NAME --help lists the settings of one
    #[arg(value_name = "METHOD", value_parser = methods(), help_heading = "Method")]
    method: String => by_family(),
    /// What answers the task: linear (one affine map), two-layer (D -> D/2 -> classes) or batch-norm (normalised, then an
    /// affine map)
    #[arg(value_name = "HEAD", value_parser = word::<HeadKind>, help_heading = "Method")]
    head: HeadKind => HEADS[0].name.into(),
    /// SimAM reweighting of the input image (the published --input_relu)
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Method")]
    simam: bool = false,
    /// Begin with what this run has trained: its folder or trained file. The head is taken where the classes are the same
    #[arg(value_name = "RUN", help_heading = "Model")]
    init_from: PathBuf,
    /// Leave out what matters least in this run of the same method, and train anew: its folder or trained file. The
    /// method says how much (e2vpt: --prune-tokens, --prune-pieces)
    #[arg(value_name = "RUN", help_heading = "Model")]
    prune_from: PathBuf,
    /// Passes over the training images
    #[arg(value_name = "N", help_heading = "Training")]
    epochs: u32 => by_width(|d| d.epochs.to_string()) + ", but linear 100",
    /// End early after so many epochs without a better score on the split that chooses the epoch; 0 for never
    #[arg(value_name = "N", help_heading = "Training")]
    patience: u32 = 0,
    /// Images a batch, or auto: the most that fit into memory, up to 128
    #[arg(value_name = "N", help_heading = "Training")]
    batch_size: BatchSize => "32".into(),
    /// Batches whose mean gradient makes a step
    #[arg(value_name = "N", help_heading = "Training")]
    accumulate: usize = 1,
    /// What makes the steps: adamw, sgd (with momentum), adam (without decay)
    #[arg(value_name = "NAME", value_parser = word::<OptimizerKind>, help_heading = "Training")]
    optimizer: OptimizerKind => "the method's: adamw".into(),
    /// Momentum of sgd
    #[arg(value_name = "SHARE", help_heading = "Training")]
    momentum: f64 = MOMENTUM,
    /// Learning rate at 512 images a step; their number scales it. auto: a short range test on training images finds it
    #[arg(value_name = "RATE", help_heading = "Training")]
    lr: Rate => by_method(|d| format!("{:e}", d.lr)),
    /// Scale --lr by the images of a step / 512, as published
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    lr_scaling: bool = true,
    /// Epochs in which the rate rises
    #[arg(value_name = "N", help_heading = "Training")]
    warmup_epochs: u32 => format!("a twentieth of the epochs, at most 5; {NARROW}: 0"),
    /// Rate at the start of the warm-up, not scaled
    #[arg(value_name = "RATE", help_heading = "Training")]
    warmup_lr: f64 = 1e-5,
    /// Rate at the end of the cosine, not scaled
    #[arg(value_name = "RATE", help_heading = "Training")]
    min_lr: f64 = 1e-5,
    /// How the rate falls: cosine, after-warmup (a cosine that begins where the warm-up ends), or steps (to a tenth at 50 % of the epochs, to a hundredth at 72 %)
    #[arg(value_name = "HOW", value_parser = word::<Decay>, help_heading = "Training")]
    lr_decay: Decay => "cosine".into(),
    /// Weight decay, of the parameters that the optimizer decays
    #[arg(value_name = "RATE", help_heading = "Training")]
    weight_decay: f64 => by_method(|d| format!("{:e}", d.weight_decay)),
    /// The head's learning rate over that of all else
    #[arg(value_name = "FACTOR", help_heading = "Training")]
    head_lr_scale: f64 = 1.0,
    /// Weight decay of the head
    #[arg(value_name = "RATE", help_heading = "Training")]
    head_weight_decay: f64 => "that of all else".into(),
    /// Label smoothing
    #[arg(value_name = "SHARE", help_heading = "Training")]
    smoothing: f32 = 0.1,
    /// How much the classes weigh in the loss: none (all alike), or balanced (the more, the fewer images a class has)
    #[arg(value_name = "HOW", value_parser = word::<ClassWeights>, help_heading = "Training")]
    class_weights: ClassWeights => "none".into(),
    /// Rate of stochastic depth at the last block
    #[arg(value_name = "RATE", help_heading = "Training")]
    drop_path: f64 => by_width(|d| d.drop_path.to_string()),
    /// Keep a moving average of what is trained, with this decay, and save it as ema.safetensors in the
    /// end; 0 for none
    #[arg(value_name = "DECAY", help_heading = "Training")]
    ema_decay: f64 = 0.0,
    /// f32; tf32, whose matrix products round their operands (not on the CPU); bf16 activations and frozen weights; or
    /// auto: bf16 where the hardware multiplies it and one batch looks the same
    #[arg(value_name = "TYPE", value_parser = word::<PrecisionChoice>, help_heading = "Training")]
    precision: PrecisionChoice => "f32".into(),
    /// Seed of everything that is random
    #[arg(value_name = "N", help_heading = "Training")]
    seed: u64 = 0,
    /// Choose the best epoch on the test split, as the published program does; the report says so
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = "Training")]
    select_on_test: bool = false,
    /// Test once more in the end at these rates of Gaussian noise on the pictures, 0 to 1, such as 0.1,0.2
    #[arg(value_name = "RATE,...", help_heading = "Training")]
    test_noise: Shares => "none".into(),
    /// How that noise enters: mix (x becomes (1 - rate) x + rate n) or add (x + rate n); x normalised, n standard normal
    #[arg(value_name = "HOW", value_parser = word::<NoiseForm>, help_heading = "Training")]
    noise_form: NoiseForm => "mix".into(),
    /// Save every N steps, beside every epoch and about once a minute
    #[arg(value_name = "N", help_heading = "Training")]
    save_every: u64 = 0,
    /// cuda (or cuda:NUMBER), cpu, emulated (the GPU's kernels run and checked on the CPU, slowly; with a
    /// card as emulated:rtx4090), or auto: cuda where it can be used, else cpu
    #[arg(value_name = "DEVICE", help_heading = "Computing")]
    device: String => "auto".into(),
    /// Threads that compute
    #[arg(value_name = "N", help_heading = "Computing")]
    threads: usize => "the number of cores".into(),
}

impl Options {
    /// Reads a config file: the settings, and the folder of the run where it names one as `out`.
    ///
    /// A file that cannot be read or is not TOML, an unknown key, or a value of another type.
    pub fn read(path: &Path) -> Result<(Options, Option<PathBuf>)> {
        /// The key that is no setting, as it does not change what is trained.
        #[derive(Deserialize)]
        struct Place {
            out: Option<PathBuf>,
        }
        let text = read_settings(path).map_err(|e| Error::io(path, "read the config", &e))?;
        let at = |start: usize| {
            let line = text[..start].matches('\n').count() + 1;
            format!("{}, line {line}", path.display())
        };
        let hint = "keys are the long flags without --; see --help";
        let keys: toml::de::DeTable = toml::de::DeTable::parse(&text)
            .map_err(|e| {
                Error::input(at(e.span().map_or(0, |span| span.start)), e.message().replace('\n', " "), hint)
            })?
            .into_inner();
        if let Some((key, _)) = keys.iter().find(|(key, value)| {
            key.get_ref() != "out" && !Self::knows(key.get_ref(), value.get_ref().is_table())
        }) {
            let what = format!("unknown field `{}`", key.get_ref());
            return Err(Error::input(at(key.span().start), what, hint));
        }
        let wrong = |e: toml::de::Error| {
            Error::input(at(e.span().map_or(0, |span| span.start)), e.message().replace('\n', " "), hint)
        };
        let options: Options = toml::from_str(&text).map_err(wrong)?;
        let Place { out } = toml::from_str(&text).map_err(wrong)?;
        // A number of a method's settings may be larger than any that a table can hold.
        let table: Table = toml::from_str(&text).map_err(wrong)?;
        Ok((Options { method_settings: MethodSettings::of_file(&table), ..options }, out))
    }

    /// Reads the settings from a table with the keys of a config file.
    ///
    /// An unknown key or a value of another type.
    pub fn of_table(table: &Table) -> std::result::Result<Options, String> {
        if let Some((key, _)) = table.iter().find(|(key, value)| !Self::knows(key, value.is_table())) {
            return Err(format!("unknown field `{key}`"));
        }
        let options: std::result::Result<Options, _> = table.clone().try_into();
        let options = options.map_err(|e: toml::de::Error| e.message().replace('\n', " "))?;
        Ok(Options { method_settings: MethodSettings::of_file(table), ..options })
    }

    /// Whether a flag of the command line, without its dashes, is one of these settings.
    pub fn has(flag: &str) -> bool {
        Self::knows(flag, false)
    }

    /// Whether a file may have this key. Keys that hold tables must be names of methods.
    fn knows(key: &str, is_table: bool) -> bool {
        match is_table {
            true => METHODS.iter().any(|entry| entry.name == key),
            false => {
                Self::NAMES.iter().any(|name| name.replace('_', "-") == key)
                    || method_flags::names().contains(&key)
            }
        }
    }

    /// Fills settings that are not given from the preset that they name.
    ///
    /// An unknown preset, or a preset without data to use it on.
    pub fn with_preset(self) -> Result<Options> {
        let Some(name) = &self.preset else { return Ok(self) };
        let Preset { settings, dataset, .. } = Preset::named(name)?;
        if dataset.is_some() && self.data.is_none() {
            let what = format!("the preset {name} is for a data set of yours");
            return Err(Error::input("--data", what, "give its folder or archive"));
        }
        let preset = Options::of_table(&settings).expect("a test reads every preset");
        let preset = Options { method_settings: preset.method_settings.of_preset(), ..preset };
        Ok(self.over(preset))
    }

    /// Takes out the settings of where to compute. They do not change what is trained, so a resumed run may choose them
    /// anew.
    pub fn take_compute(&mut self) -> Compute {
        Compute { device: self.device.take(), threads: self.threads.take() }
    }

    /// Describes, one line each, the settings of a file that belong to a method other than the one in use.
    pub fn unused(&self, spec: &Spec) -> Vec<String> {
        self.method_settings.unused(&self.method_on(spec))
    }

    /// The name of the method, which belongs to the backbone where it is not given.
    fn method_on(&self, spec: &Spec) -> String {
        self.method.clone().unwrap_or_else(|| default_on(spec.family).name.into())
    }

    /// Refuses flags of the command line that change nothing beside the settings of `config`.
    ///
    /// # Errors
    /// The first such flag, with what it belongs to.
    pub fn check_effect(flags: &[String], config: &TrainConfig) -> Result<()> {
        for flag in flags {
            let belongs_to = match flag.as_str() {
                "weights" if config.backbone.is_none() => "--backbone",
                "patch_size" | "embed_dim" | "depth" if config.model.is_none() => "--model",
                "momentum" if config.optimizer != OptimizerKind::Sgd => "--optimizer sgd",
                "noise_form" if config.test_noise.is_empty() => "--test-noise",
                "min_lr" if config.lr_decay == Decay::Steps => "--lr-decay cosine",
                "crop_scale_min" | "flip" | "auto_augment" | "color_jitter" | "reprob" | "mixup"
                | "cutmix"
                    if config.keeps_features() =>
                {
                    "a method that changes images"
                }
                "crop_scale_min" | "flip" if !config.augment => "--augment true",
                "mixup_prob" if config.mixup + config.cutmix == 0.0 => "--mixup or --cutmix",
                "mixup_switch_prob" if config.mixup == 0.0 || config.cutmix == 0.0 => "--mixup and --cutmix",
                _ => continue,
            };
            let flag = format!("--{}", flag.replace('_', "-"));
            return Err(Error::input(flag, format!("changes nothing without {belongs_to}"), "leave it out"));
        }
        Ok(())
    }

    /// The sizes of the backbone that these settings name.
    ///
    /// A checkpoint that cannot be read, or an unknown size.
    pub fn backbone_spec(&self) -> Result<Spec> {
        let &Options { img_size, patch_size, stride, embed_dim, depth, heads, normalise, pool, .. } = self;
        let reading = Reading { heads, normalise, pool };
        let sizes = Sizes { img_size, patch_size, stride, embed_dim, depth, reading };
        backbone_spec(self.backbone.as_deref(), self.weights, self.model.as_deref(), &sizes)
    }

    /// Fills in the defaults.
    ///
    /// An unknown method, a setting that it does not have, or a value that the setting does not take.
    pub fn resolve(self) -> Result<TrainConfig> {
        let spec = self.backbone_spec()?;
        self.resolve_on(&spec)
    }

    /// Fills in the defaults for a backbone that was looked at before.
    ///
    /// Those of [`Options::resolve`].
    pub fn resolve_on(self, spec: &Spec) -> Result<TrainConfig> {
        let method = self.method_settings.choose(&self.method_on(spec))?;
        let builtin = || PathBuf::from(format!("{BUILTIN}orientation"));
        let data = self.data.clone().unwrap_or_else(builtin);
        let drawn = data.to_str().is_some_and(|name| name.starts_with(BUILTIN) && !name.ends_with("shapes"));
        let (defaults, of_run) = (method.defaults(spec), RunDefaults::of(spec, method.entry));
        let epochs = self.epochs.unwrap_or(of_run.epochs);
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Ok(TrainConfig {
            allow_mismatch: self.allow_mismatch(),
            data,
            dataset: self.dataset.unwrap_or(Layout::Auto),
            allow_outside: self.allow_outside(),
            val_fraction: self.val_fraction(),
            test_fraction: self.test_fraction(),
            exif_orientation: self.exif_orientation(),
            train_on_val: self.train_on_val(),
            class_row: self.class_row.unwrap_or(defaults.class_row),
            head: self.head.unwrap_or_default(),
            simam: self.simam(),
            epochs,
            batch_size: match self.batch_size {
                Some(BatchSize::Images(n)) => n,
                // A placeholder until the size that fits is known.
                Some(BatchSize::Auto) => 1,
                None => 32,
            },
            accumulate: self.accumulate(),
            optimizer: self.optimizer.unwrap_or(defaults.optimizer),
            momentum: self.momentum(),
            lr: self.lr.unwrap_or(Rate::At(defaults.lr)),
            lr_scaling: self.lr_scaling(),
            warmup_epochs: self.warmup_epochs.unwrap_or((epochs / 20).min(of_run.most_warmup_epochs)),
            warmup_lr: self.warmup_lr(),
            min_lr: self.min_lr(),
            lr_decay: self.lr_decay.unwrap_or_default(),
            weight_decay: self.weight_decay.unwrap_or(defaults.weight_decay),
            head_lr_scale: self.head_lr_scale(),
            head_weight_decay: self.head_weight_decay,
            smoothing: self.smoothing(),
            class_weights: self.class_weights.unwrap_or_default(),
            patience: self.patience(),
            sampler: self.sampler.unwrap_or_default(),
            drop_path: self.drop_path.unwrap_or(of_run.drop_path),
            ema_decay: self.ema_decay(),
            augment: self.augment.unwrap_or(!drawn),
            crop_scale_min: self.crop_scale_min.unwrap_or(of_run.crop_scale_min),
            flip: self.flip(),
            auto_augment: self.auto_augment.and_then(|policy| policy.0),
            color_jitter: self.color_jitter(),
            reprob: self.reprob(),
            mixup: self.mixup(),
            cutmix: self.cutmix(),
            mixup_prob: self.mixup_prob(),
            mixup_switch_prob: self.mixup_switch_prob(),
            // auto is a placeholder until it is found.
            precision: self.precision.and_then(PrecisionChoice::fixed).unwrap_or_default(),
            seed: self.seed(),
            select_on_test: self.select_on_test(),
            noise_form: self.noise_form.unwrap_or_default(),
            workers: self.workers.unwrap_or(cores),
            save_every: self.save_every(),
            test_noise: self.test_noise.unwrap_or_default().0,
            method,
            preset: self.preset,
            backbone: self.backbone,
            init_from: self.init_from,
            prune_from: self.prune_from,
            weights: self.weights,
            model: self.model,
            embed_dim: self.embed_dim,
            depth: self.depth,
            patch_size: self.patch_size,
            stride: self.stride,
            img_size: self.img_size,
            heads: self.heads,
            normalise: self.normalise,
            pool: self.pool,
            pos_embed: self.pos_embed,
        })
    }
}

#[cfg(test)]
mod tests;
