//! The images that a trained model is measured on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use svp::data::{Dataset, Layout, LoaderOptions, Normalisation, Sample, Transform};
use svp::train::{Feed, TrainConfig, TrainedModel, dataset};
use svp::{Error, Result};

/// Which images.
#[derive(Args)]
pub struct Measure {
    /// Images to measure on [default: test where there is one, else val]
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<Split>,
    /// Other data of the same classes than the run's
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Test,
    Val,
    Train,
}

/// The images, ready to be fed.
pub struct Images {
    /// Of the run, with the data that was asked for.
    pub config: TrainConfig,
    pub split: Split,
    pub samples: Arc<Vec<Sample>>,
    pub feed: Feed,
}

impl Split {
    pub fn name(self) -> &'static str {
        match self {
            Split::Test => "test",
            Split::Val => "val",
            Split::Train => "train",
        }
    }
}

impl Measure {
    /// Opens the data of the run `of`, which was loaded from `run`.
    pub fn open(&self, run: &Path, of: &TrainedModel) -> Result<Images> {
        let config = of.config.clone();
        let config = config
            .ok_or_else(|| Error::path(run, "has no config.toml beside it", "give the folder of a run"))?;
        let config = match &self.data {
            Some(data) => TrainConfig { data: data.clone(), dataset: Layout::Auto, ..config },
            None => config,
        };
        let data = dataset(&config)?;
        check_classes(&config, &data, &of.trained.classes)?;
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
        let transform = Transform::eval(of.model.vim.config.img_size as u32, Normalisation::IMAGENET);
        let options = LoaderOptions::eval(config.batch_size, config.workers);
        let samples = Arc::new(samples);
        let feed = Feed::images(&samples, transform, options)?;
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
