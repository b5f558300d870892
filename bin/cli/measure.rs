//! The images that a model is measured on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use svp::data::{Dataset, Layout, LoaderOptions, NoiseForm, PictureNoise, Sample, Turn};
use svp::model::Model;
use svp::train::{Feed, TrainConfig, TrainedFile, TrainedModel, dataset};
use svp::{Error, Result};

use crate::image::Preparation;
use crate::output::tell;

/// The flags for which images a model is measured on.
#[derive(Args)]
pub struct Measure {
    /// Split to measure on [default: test if the data has a test split, else val, else all]
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<Split>,
    /// Other labelled images: a folder CLASS/* or test/CLASS/*, an archive, a csv file of path and label. Classes are
    /// matched by name and need not be all of the run's [default: the data of the run]
    #[arg(long, value_name = "DATA")]
    pub data: Option<PathBuf>,
    /// Read images that lists in the data set name outside of it
    #[arg(long)]
    pub allow_outside: bool,
}

/// The flags for noise on the images that a model is measured on.
#[derive(Args, Default)]
pub struct Noise {
    /// Put Gaussian noise on the images, at a rate of 0 to 1
    #[arg(id = "noise", long = "noise", value_name = "RATE")]
    rate: Option<f64>,
    /// How the noise enters the normalised picture x, with standard normal n: mix (x becomes (1 - rate) x + rate n) or add
    /// (x + rate n) [default: mix]
    #[arg(id = "noise_form", long = "noise-form", value_name = "HOW", requires = "noise")]
    form: Option<NoiseForm>,
    /// Seed of the noise [default: the run's]
    #[arg(id = "noise_seed", long = "noise-seed", value_name = "N", requires = "noise")]
    seed: Option<u64>,
}

impl Noise {
    /// The noise that is asked for, if any. `seed` is that of the run.
    ///
    /// # Errors
    /// A rate out of 0 to 1.
    pub fn of(&self, model: &Model, seed: u64) -> Result<Option<PictureNoise>> {
        let (form, seed) = (self.form.unwrap_or_default(), self.seed.unwrap_or(seed));
        self.rate.map(|rate| model.noise(rate, form, seed)).transpose()
    }
}

/// A split of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The names say it, and a comment here would change the help of the commands.
pub enum Split {
    Test,
    Val,
    Train,
    All,
}

/// The images of a split, ready to be fed to a model.
pub struct Images {
    /// The split that the images are from.
    pub split: Split,
    /// The images, in the order in which they are fed.
    pub samples: Arc<Vec<Sample>>,
    /// Hands out the images in batches.
    pub feed: Feed,
    /// The noise on them.
    pub noise: Option<PictureNoise>,
}

impl Split {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Split::Test => "test",
            Split::Val => "val",
            Split::Train => "train",
            Split::All => "all",
        }
    }

    /// What it is, as a sentence names it.
    pub fn title(self) -> &'static str {
        match self {
            Split::Test => "the test split",
            Split::Val => "the val split",
            Split::Train => "the train split",
            Split::All => "all images",
        }
    }
}

impl Measure {
    /// Opens the images for a model that was loaded from `run`, with noise where that is asked for. Returns the config of the run too, with the data that was
    /// asked for.
    ///
    /// # Errors
    /// A run without a config, data that cannot be read, has no class of the model or lacks the split.
    pub fn open(&self, run: &Path, loaded: &TrainedModel, noise: &Noise) -> Result<(TrainConfig, Images)> {
        let config = loaded.config.clone();
        let mut config = config
            .ok_or_else(|| Error::path(run, "has no config.toml beside it", "give the folder of a run"))?;
        config.allow_outside |= self.allow_outside;
        let classes = &loaded.trained.classes;
        let data = match &self.data {
            None => {
                config.check_data_place()?;
                let data = dataset(&config)?;
                check_classes(&config.data, &data, classes)?;
                data
            }
            Some(path) => {
                config.data = path.clone();
                other(run, &mut config)?.matched(classes)?
            }
        };
        if config.train_on_val && self.split == Some(Split::Val) && data.val.is_none() {
            let what = "has no val split: the run's --train-on-val makes its images training images";
            return Err(Error::path(&config.data, what, "use another --split"));
        }
        let transform = Preparation::of(loaded, true).into_transform();
        let noise = noise.of(&loaded.model, config.seed)?;
        let options = LoaderOptions { noise, ..LoaderOptions::eval(config.batch_size, config.workers) };
        let images = self.choose(data, &config.data, |samples| Feed::images(samples, transform, options))?;
        Ok((config, Images { noise, ..images }))
    }

    /// Chooses the split of a data set at `place`, and tells what is not measured on.
    ///
    /// # Errors
    /// A data set without the split, and those of `feed`.
    pub fn choose(
        &self,
        data: Dataset,
        place: &Path,
        feed: impl FnOnce(&Arc<Vec<Sample>>) -> Result<Feed>,
    ) -> Result<Images> {
        // What is not measured on is told, as in training.
        data.notes.iter().filter(|note| note.starts_with("left out")).for_each(|note| tell(note));
        let split = self.split.unwrap_or(match (&data.test, &data.val) {
            (Some(_), _) => Split::Test,
            (None, Some(_)) => Split::Val,
            (None, None) => Split::All,
        });
        let samples = match split {
            Split::All => data.all().cloned().collect(),
            Split::Train if data.is_unsplit() => vec![],
            Split::Train => data.train,
            Split::Val => data.val.unwrap_or_default(),
            Split::Test => data.test.unwrap_or_default(),
        };
        if samples.is_empty() {
            let hint = "use another --split; all measures on whatever is there";
            return Err(Error::path(place, format!("has no {} split", split.name()), hint));
        }
        let samples = Arc::new(samples);
        let feed = feed(&samples)?.with_bar();
        Ok(Images { split, samples, feed, noise: None })
    }
}

/// Number of threads that read images, where no run says it.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Opens data other than those that a run's config names. They are measured as they are, and nothing is held out of
/// them, unless they are the images of the run, which were only moved: then they are split as in training.
fn other(run: &Path, config: &mut TrainConfig) -> Result<Dataset> {
    if config.draws_data() {
        return dataset(config);
    }
    let open = |layout| Dataset::open_labelled(&config.data, layout, config.seed, config.allow_outside);
    let found = match open(Layout::Auto) {
        // The run's data set may be one of several in that folder.
        Err(error) if config.dataset != Layout::Auto => open(config.dataset).map_err(|_| error),
        found => found,
    }?;
    config.dataset = found.layout;
    if found.val.is_some() && found.test.is_some() {
        return Ok(turned(found, config));
    }
    if let Some(own) = of_the_run(run, config) {
        return Ok(own);
    }
    if found.is_unsplit() {
        let n = found.all().count();
        tell(&format!("data: no splits, and not the images of the run: all {n} are measured, none held out"));
    }
    Ok(turned(found, config))
}

/// The data set of a config, split as for training, if the run was trained on it.
fn of_the_run(run: &Path, config: &TrainConfig) -> Option<Dataset> {
    let folder = if run.is_dir() { run } else { run.parent()? };
    let last = TrainedFile::open(&folder.join("last.safetensors")).ok()?;
    let own = dataset(config).ok()?;
    (Some(own.fingerprint().as_str()) == last.data()).then_some(own)
}

fn turned(data: Dataset, config: &TrainConfig) -> Dataset {
    data.turned(if config.exif_orientation { Turn::Upright } else { Turn::AsStored })
}

/// Refuses a run's own data whose classes are not those that it was trained on.
fn check_classes(place: &Path, data: &Dataset, trained: &[String]) -> Result<()> {
    let what = if data.classes.len() != trained.len() {
        format!("has {} classes, the model {}", data.classes.len(), trained.len())
    } else if let Some((found, want)) = data.classes.iter().zip(trained).find(|(found, want)| found != want) {
        format!("has the class {found:?} where the model has {want:?}")
    } else {
        return Ok(());
    };
    let hint = "the data changed since the run: name it with --data, by which classes are matched by name";
    Err(Error::path(place, what, hint))
}
