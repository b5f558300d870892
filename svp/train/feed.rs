//! The input of training steps: images from files, or features that were computed once.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Rng, Tensor};

use super::input::Input;
use crate::data::loader::balanced_order;
use crate::data::{Batch, Loader, LoaderOptions, Sample, Sampler, Transform};
use crate::heads::Labels;
use crate::model::Model;
use crate::report::Counter;
use crate::{Error, Result, streams};

/// One batch of input.
#[derive(Clone)]
pub struct FeedBatch {
    /// `[b 3 s s]` normalised images, or `[b d]` features.
    pub input: Tensor,
    /// The answers that the head should give.
    pub labels: Labels,
    /// Position of each sample in its split.
    pub indices: Vec<u32>,
    /// What the random numbers of each sample are keyed by, beside seed and epoch (see [`Batch::keys`]).
    pub keys: Vec<u32>,
    /// What [`Model::assignment`] computed of each image, where it is kept.
    pub assignment: Option<Vec<f32>>,
    /// Share of a sample's own label in its target. The rest goes to the label of the sample at the mirrored place in
    /// the batch.
    pub own_share: f32,
}

/// A split that is handed out in batches.
pub enum Feed {
    /// Images, read and transformed for each epoch.
    Images(Images),
    /// Features of a frozen backbone, kept in memory.
    Features(Features),
}

/// Images of a split, and what is kept of each.
pub struct Images {
    loader: Loader,
    /// What [`Model::assignment`] computed, by the position in the split; empty where nothing is kept.
    assigned: HashMap<u32, f32>,
    /// Whether a bar shows how far an epoch is.
    bar: bool,
}

/// Features `[n d]` of a split: one row for each image.
pub struct Features {
    dim: usize,
    values: Vec<f32>,
    labels: Vec<u32>,
    broken: Vec<String>,
    batch: usize,
    seed: u64,
    sampler: Option<Sampler>,
}

impl Feed {
    /// Feeds the images of a split. `options` say how they are drawn and whether the last partial batch is
    /// dropped.
    ///
    /// # Errors
    /// Options that the loader refuses.
    pub fn images(samples: &Arc<Vec<Sample>>, transform: Transform, options: LoaderOptions) -> Result<Self> {
        let loader = Loader::new(samples.clone(), transform, options)?;
        Ok(Feed::Images(Images { loader, assigned: HashMap::new(), bar: false }))
    }

    /// The same feed, whose images are counted on a terminal while they are handed out. Training has a bar of its own.
    pub fn with_bar(mut self) -> Self {
        if let Feed::Images(images) = &mut self {
            images.bar = true;
        }
        self
    }

    /// Lets a feed keep the assignment of every image, where the model's method has one: the frozen backbone runs once over
    /// the images of `loader`, which must be as those of the feed in every epoch.
    ///
    /// Those of [`Feed::features`].
    pub fn assigned(self, model: &Model, loader: &Loader, stop: &dyn Fn() -> bool) -> Result<Self> {
        let Feed::Images(Images { loader: own, mut assigned, bar }) = self else { return Ok(self) };
        if model.method.prototypes().is_some() {
            each_batch(model, loader, stop, &mut |images, batch| {
                let numbers = model.assignment(images)?.expect("the method has prototypes");
                assigned.extend(batch.indices.iter().zip(&*numbers.values()?));
                Ok(())
            })?;
        }
        Ok(Feed::Images(Images { loader: own, assigned, bar }))
    }

    /// Runs the frozen backbone once over the images of `loader`; batches then come from memory.
    ///
    /// [`Error::Interrupted`] once `stop` returns true, more than 1 % of broken images, a class to train on that has lost
    /// all of its images, and faults of the device.
    pub fn features(
        model: &Model,
        loader: &Loader,
        options: LoaderOptions,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let mut features = Features {
            dim: model.spec().width,
            values: vec![],
            labels: vec![],
            broken: vec![],
            batch: options.batch,
            seed: options.seed,
            sampler: options.sampler,
        };
        each_batch(model, loader, stop, &mut |images, batch| {
            features.values.extend_from_slice(&model.features(images)?.values()?);
            features.labels.extend(&batch.labels);
            Ok(())
        })?;
        if options.sampler.is_some() {
            loader.check_classes()?;
        }
        features.broken = broken(loader);
        Ok(Feed::Features(features))
    }

    /// The reasons why images could not be read so far, one for each image.
    pub fn broken(&self) -> Vec<String> {
        match self {
            Feed::Images(images) => broken(&images.loader),
            Feed::Features(features) => features.broken.clone(),
        }
    }

    /// Number of batches in an epoch.
    pub fn batches(&self) -> usize {
        match self {
            Feed::Images(images) => images.loader.batches(),
            Feed::Features(f) if f.sampler.is_some() => (f.labels.len() / f.batch).max(1),
            Feed::Features(f) => f.labels.len().div_ceil(f.batch),
        }
    }

    /// The batches of `epoch` from number `start` on.
    pub fn epoch<'a>(&'a self, epoch: u32, start: usize) -> Box<dyn Iterator<Item = Result<FeedBatch>> + 'a> {
        match self {
            Feed::Images(Images { loader, assigned, bar }) => {
                let bar = bar.then(|| Counter::new("images", loader.images()));
                Box::new(loader.epoch(epoch, start).map(move |batch| {
                    let Batch { images, side, labels, indices, keys, own_share, .. } = batch?;
                    bar.iter().for_each(|bar| bar.add(indices.len()));
                    let labels = Labels::Classes(labels);
                    let assignment = indices.iter().map(|index| assigned.get(index).copied()).collect();
                    let input = image_tensor(images, side);
                    Ok(FeedBatch { input, labels, indices, keys, assignment, own_share })
                }))
            }
            Feed::Features(features) => {
                let order = features.order(epoch);
                Box::new((start..self.batches()).map(move |number| Ok(features.batch(&order, number))))
            }
        }
    }
}

/// Passes the images of a loader, in its order, to `each` on the model's device, with their batch.
fn each_batch(
    model: &Model,
    loader: &Loader,
    stop: &dyn Fn() -> bool,
    each: &mut dyn FnMut(Tensor, &Batch) -> Result<()>,
) -> Result<()> {
    let mut input = Input::default();
    let bar = Counter::new("images seen by the frozen backbone", loader.images());
    for batch in loader.epoch(0, 0) {
        if stop() {
            return Err(Error::Interrupted { step: 0, hint: "run it again".into() });
        }
        let mut batch = batch?;
        let images = image_tensor(std::mem::take(&mut batch.images), batch.side);
        each(input.send(&model.device, images)?, &batch)?;
        bar.add(batch.indices.len());
    }
    Ok(())
}

fn image_tensor(values: Vec<f32>, size: usize) -> Tensor {
    let b = values.len() / (3 * size * size);
    Tensor::from_vec(values, &[b, 3, size, size])
}

fn broken(loader: &Loader) -> Vec<String> {
    loader.broken().into_iter().map(|broken| broken.reason).collect()
}

impl Features {
    fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.labels.len() as u32).collect();
        match self.sampler {
            None => {}
            Some(Sampler::Shuffled) => {
                Rng::keyed(self.seed, epoch, 0, streams::FEATURE_ORDER).shuffle(&mut order);
            }
            Some(Sampler::Balanced) => order = balanced_order(&self.labels, self.seed, epoch),
        }
        order
    }

    fn batch(&self, order: &[u32], number: usize) -> FeedBatch {
        let indices = order[number * self.batch..((number + 1) * self.batch).min(order.len())].to_vec();
        // Nothing about features is random but their order.
        let keys = indices.clone();
        let row = |&i: &u32| &self.values[i as usize * self.dim..(i as usize + 1) * self.dim];
        let values: Vec<f32> = indices.iter().flat_map(row).copied().collect();
        let labels = Labels::Classes(indices.iter().map(|&i| self.labels[i as usize]).collect());
        let input = Tensor::from_vec(values, &[indices.len(), self.dim]);
        FeedBatch { input, labels, indices, keys, assignment: None, own_share: 1.0 }
    }
}
