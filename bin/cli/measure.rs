//! The images that a trained model is measured on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use svp::data::{Dataset, Layout, LoaderOptions, Sample};
use svp::train::{Feed, TrainConfig, TrainedModel, dataset};
use svp::{Error, Result};

use crate::image::Preparation;
use crate::output::tell;

/// The flags for which images a model is measured on.
#[derive(Args)]
pub struct Measure {
    /// Split to measure on [default: test if the data has a test split, else val]
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<Split>,
    /// Folder or archive of other data with the same classes [default: the data of the run]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// A split of a data set.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The names say it, and a comment here would change the help of the commands.
pub enum Split {
    Test,
    Val,
    Train,
}

/// The images of a split, ready to be fed to a model.
pub struct Images {
    /// The config of the run, with the data that was asked for.
    pub config: TrainConfig,
    /// The split that the images are from.
    pub split: Split,
    /// The images, in the order in which they are fed.
    pub samples: Arc<Vec<Sample>>,
    /// Hands out the images in batches.
    pub feed: Feed,
}

impl Split {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Split::Test => "test",
            Split::Val => "val",
            Split::Train => "train",
        }
    }
}

impl Measure {
    /// Opens the images for a model that was loaded from the folder `run`.
    ///
    /// # Errors
    /// A run without a config, data that cannot be read, has other classes than the model or lacks the split.
    pub fn open(&self, run: &Path, loaded: &TrainedModel) -> Result<Images> {
        let config = loaded.config.clone();
        let config = config
            .ok_or_else(|| Error::path(run, "has no config.toml beside it", "give the folder of a run"))?;
        let config = match &self.data {
            Some(data) => TrainConfig { data: data.clone(), dataset: Layout::Auto, ..config },
            None => {
                config.check_data_place()?;
                config
            }
        };
        let data = dataset(&config)?;
        // What is not measured on is told, as in training.
        data.notes.iter().filter(|note| note.starts_with("left out")).for_each(|note| tell(note));
        check_classes(&config, &data, &loaded.trained.classes)?;
        let (split, samples) = match (self.split, data.test, data.val) {
            (None | Some(Split::Test), Some(test), _) => (Split::Test, test),
            (Some(Split::Test), None, _) => {
                return Err(Error::path(&config.data, "has no test split", "use another --split"));
            }
            (Some(Split::Train), ..) => (Split::Train, data.train),
            (None | Some(Split::Val), _, Some(val)) => (Split::Val, val),
            (None | Some(Split::Val), _, None) => {
                let what = "has no val split: the run's --train-on-val makes its images training images";
                return Err(Error::path(&config.data, what, "use another --split"));
            }
        };
        let transform = Preparation::of(loaded, true).into_transform();
        let options = LoaderOptions::eval(config.batch_size, config.workers);
        let samples = Arc::new(samples);
        let feed = Feed::images(&samples, transform, options)?.with_bar();
        Ok(Images { config, split, samples, feed })
    }
}

fn check_classes(config: &TrainConfig, data: &Dataset, trained: &[String]) -> Result<()> {
    let what = if data.classes.len() != trained.len() {
        format!("has {} classes, the model {}", data.classes.len(), trained.len())
    } else if let Some((found, want)) = data.classes.iter().zip(trained).find(|(found, want)| found != want) {
        format!("has the class {found:?} where the model has {want:?}")
    } else {
        return Ok(());
    };
    Err(Error::path(&config.data, what, "give data of the classes that the run was trained on"))
}
