//! Batches, which threads of the loader decode and transform while the model computes.
//!
//! **Order.** The order of the samples is a function of (seed, epoch), augmentation one of (seed, epoch, sample) - or,
//! where a sample may be drawn several times in an epoch, of (seed, epoch, draw) - and mixing one of (seed, epoch, batch). Neither the number of workers nor the batch with which a resumed epoch starts
//! changes a byte of any batch.
//!
//! **Broken images.** In training ([`OnBroken::Replace`]) a broken image is replaced by the next readable sample in the
//! order of the epoch, so that batches keep their size. In evaluation ([`OnBroken::Skip`]) it is left out. Each broken
//! image is recorded with its reason. In both, the iterator yields an error and ends once more than 1 % of the split are
//! broken - of a small split a tenth, up to three images, and one always - and in training also once all images of a
//! class are; where images are predicted ([`OnBroken::SkipAny`]), any number may be broken. All this depends on the
//! batches handed out so far, not on the workers.
//!
//! **Limits.** An epoch whose batches do not fit into the [`budget`] of memory, or whose threads the system does not start,
//! yields an error at once. It does not go on with fewer threads: nobody would know why it is slow, and what was trained
//! before is saved.

mod batches;
mod memory;
mod order;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::Rng;
use engine::budget::Claim;

use crate::augment::Mix;
use crate::error::{Error, Result};
use crate::sample::Sample;
use crate::streams;
use crate::text::brief;
use crate::transform::{PictureNoise, Transform};

pub use batches::Batches;
pub use order::{Sampler, balanced_order};

/// What the loader does about an image that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBroken {
    /// Takes the next readable sample instead.
    Replace,
    /// Leaves it out, which makes the batch smaller.
    Skip,
    /// Leaves it out, however many there are.
    SkipAny,
}

/// How a [`Loader`] hands out its samples.
#[derive(Debug, Clone, Copy)]
pub struct LoaderOptions {
    /// Number of samples in a batch.
    pub batch: usize,
    /// Number of threads that make batches.
    pub workers: usize,
    /// Decides order, augmentation and mixing.
    pub seed: u64,
    /// How an epoch draws its samples; `None` for the order of the split.
    pub sampler: Option<Sampler>,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
    /// What happens to an image that cannot be read.
    pub on_broken: OnBroken,
    /// Mixup and cutmix of whole batches.
    pub mix: Option<Mix>,
    /// Noise on every picture, after its transform.
    pub noise: Option<PictureNoise>,
}

impl LoaderOptions {
    /// For training: shuffled, only whole batches, and broken images are replaced.
    pub fn train(batch: usize, workers: usize, seed: u64) -> Self {
        let on_broken = OnBroken::Replace;
        let sampler = Some(Sampler::Shuffled);
        LoaderOptions { batch, workers, seed, sampler, drop_last: true, on_broken, mix: None, noise: None }
    }

    /// For prediction: as for evaluation, but however many images cannot be read.
    pub fn predict(batch: usize, workers: usize) -> Self {
        LoaderOptions { on_broken: OnBroken::SkipAny, ..LoaderOptions::eval(batch, workers) }
    }

    /// For evaluation: every readable image once, in the order of the split.
    pub fn eval(batch: usize, workers: usize) -> Self {
        let on_broken = OnBroken::Skip;
        let (sampler, drop_last) = (None, false);
        LoaderOptions { batch, workers, seed: 0, sampler, drop_last, on_broken, mix: None, noise: None }
    }
}

/// The samples of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Number of the batch in its epoch.
    pub number: usize,
    /// Normalised images `[b 3 side side]`.
    pub images: Vec<f32>,
    /// Side of an image in pixels.
    pub side: usize,
    /// The class of each sample.
    pub labels: Vec<u32>,
    /// The position of each sample in the split.
    pub indices: Vec<u32>,
    /// What the random numbers of each sample are keyed by, beside seed and epoch: its position in the split, or with
    /// [`Sampler::Balanced`], which may draw a sample several times, the number of the draw in the epoch.
    pub keys: Vec<u32>,
    /// The share of a sample's own label in its target. The rest belongs to the label of its partner, which for sample i
    /// of b is sample b - 1 - i.
    pub own_share: f32,
}

/// An image that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Position in the split.
    pub index: u32,
    /// Path and reason in one line.
    pub reason: String,
}

/// Hands out one split in batches, epoch by epoch.
pub struct Loader {
    split: Arc<Split>,
}

/// A split and how it is handed out: what the workers and the consumers of all epochs have in common.
struct Split {
    samples: Arc<Vec<Sample>>,
    transform: Transform,
    options: LoaderOptions,
    /// Broken images met so far: position in the split to path and reason.
    broken: Mutex<BTreeMap<u32, String>>,
    /// Time that consumers spent waiting.
    wait: Mutex<Duration>,
}

impl Loader {
    /// A loader of these samples. Its threads start with an epoch.
    ///
    /// # Errors
    /// An empty split, 0 samples a batch, 0 workers, and a batch that must be full but is larger than the split.
    pub fn new(samples: Arc<Vec<Sample>>, transform: Transform, options: LoaderOptions) -> Result<Self> {
        let LoaderOptions { batch, workers, drop_last, .. } = options;
        if samples.is_empty() {
            return Err(Error::input("data", "a split has no images", "add some"));
        }
        if batch == 0 || workers == 0 {
            let what = format!("batch size {batch} with {workers} data workers");
            return Err(Error::input("data", what, "use at least 1 of both"));
        }
        if drop_last && batch > samples.len() {
            let what = format!("the batch size {batch} is larger than the {} training images", samples.len());
            return Err(Error::input("batch-size", what, format!("use at most {}", samples.len())));
        }
        let split = Split { samples, transform, options, broken: Mutex::default(), wait: Mutex::default() };
        Ok(Loader { split: Arc::new(split) })
    }

    /// Number of images of the split, broken ones too.
    pub fn images(&self) -> usize {
        self.split.samples.len()
    }

    /// Number of batches of an epoch.
    pub fn batches(&self) -> usize {
        let (n, batch) = (self.split.samples.len(), self.split.options.batch);
        if self.split.options.drop_last { n / batch } else { n.div_ceil(batch) }
    }

    /// Starts the workers on the batches of `epoch` from number `start_batch` on. Dropping the iterator stops them; each
    /// finishes at most the image that it is working on.
    pub fn epoch(&self, epoch: u32, start_batch: usize) -> Batches {
        Batches::start(self.split.clone(), epoch, start_batch, self.batches())
    }

    /// Time that consumers of all epochs together spent waiting for data.
    pub fn wait(&self) -> Duration {
        *lock(&self.split.wait)
    }

    /// An error if no image of a class can be read, as far as images were met.
    ///
    /// # Errors
    /// The first such class, by its first image.
    pub fn check_classes(&self) -> Result<()> {
        self.split.check_classes(&lock(&self.split.broken))
    }

    /// The images met so far that could not be read, each once, in the order of the split.
    pub fn broken(&self) -> Vec<Broken> {
        self.broken_from(0)
    }

    /// The same of the images from position `start` on.
    pub fn broken_from(&self, start: u32) -> Vec<Broken> {
        let broken = lock(&self.split.broken);
        broken.range(start..).map(|(&index, reason)| Broken { index, reason: reason.clone() }).collect()
    }
}

impl Split {
    /// The most broken images that do not end a run.
    fn tolerated(&self) -> usize {
        match self.options.on_broken {
            OnBroken::SkipAny => usize::MAX,
            OnBroken::Replace | OnBroken::Skip => {
                let n = self.samples.len();
                (n / 100).max((n / 10).min(3)).max(1)
            }
        }
    }

    /// An error about a class of which all images are among the broken ones.
    fn check_classes(&self, broken: &BTreeMap<u32, String>) -> Result<()> {
        let label = |index: &u32| self.samples[*index as usize].label;
        let mut readable: BTreeMap<u32, (usize, &String)> = BTreeMap::new();
        for (index, reason) in broken {
            readable.entry(label(index)).or_insert((0, reason));
        }
        if readable.is_empty() {
            return Ok(());
        }
        for (index, sample) in self.samples.iter().enumerate() {
            if let Some((count, _)) = readable.get_mut(&sample.label)
                && !broken.contains_key(&(index as u32))
            {
                *count += 1;
            }
        }
        match readable.into_values().find(|(count, _)| *count == 0) {
            Some((_, first)) => {
                let what = format!("no image of a class can be read, the first is {first}");
                Err(Error::input("data", what, "repair the images, or remove the class"))
            }
            None => Ok(()),
        }
    }

    /// Positions in the split in the order of an epoch.
    fn order(&self, epoch: u32) -> Vec<u32> {
        let seed = self.options.seed;
        let mut order: Vec<u32> = (0..self.samples.len() as u32).collect();
        match self.options.sampler {
            None => {}
            Some(Sampler::Shuffled) => Rng::keyed(seed, epoch, 0, streams::ORDER).shuffle(&mut order),
            Some(Sampler::Balanced) => {
                let labels: Vec<u32> = self.samples.iter().map(|sample| sample.label).collect();
                order = balanced_order(&labels, seed, epoch);
            }
        }
        order
    }
}

/// A batch, with the broken images met while it was made: position in the split to path and reason.
struct Made {
    batch: Batch,
    broken: BTreeMap<u32, String>,
    /// What kept a sound image from being read, which ends the epoch.
    failed: Option<Error>,
}

/// One epoch, as its workers and its consumer see it.
struct Epoch {
    split: Arc<Split>,
    number: u32,
    order: Vec<u32>,
    /// One past the last batch.
    end: usize,
    /// Number of batches that may be begun before the consumer has taken the first of them.
    ahead: usize,
    /// Whether the consumer is gone or a worker panicked. It is set while `queue` is locked.
    stop: AtomicBool,
    queue: Mutex<Queue>,
    /// Tells the consumer that a batch is made.
    made: Condvar,
    /// Tells workers that a batch was taken.
    taken: Condvar,
    /// The memory of its batches.
    _claim: Claim,
}

/// The batches between the workers and the consumer.
struct Queue {
    /// The next batch that a worker begins.
    claim: usize,
    /// The next batch that the consumer takes.
    next: usize,
    /// Batches that are made and not taken yet, by their numbers.
    ready: BTreeMap<usize, Made>,
}

impl Epoch {
    /// The work of a worker: it makes batch after batch until there are no more or it is told to stop.
    fn work(&self) {
        let _alarm = Alarm(self);
        while let Some(made) = self.claim().and_then(|number| self.make(number)) {
            lock(&self.queue).ready.insert(made.batch.number, made);
            self.made.notify_one();
        }
    }

    /// Waits until the next batch is not too far ahead, and gives its number.
    fn claim(&self) -> Option<usize> {
        let mut queue = lock(&self.queue);
        while queue.claim >= queue.next + self.ahead && !self.stopped() {
            queue = self.taken.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let number = queue.claim;
        queue.claim += 1;
        (number < self.end && !self.stopped()).then_some(number)
    }

    /// Makes a batch. `None` when it is told to stop.
    fn make(&self, number: usize) -> Option<Made> {
        let (options, n) = (&self.split.options, self.order.len());
        let positions = number * options.batch..((number + 1) * options.batch).min(n);
        let images = Vec::with_capacity(positions.len() * self.split.transform.values());
        let (side, own_share) = (self.split.transform.size as usize, 1.0);
        let (labels, indices, keys) = (Vec::new(), Vec::new(), Vec::new());
        let batch = Batch { number, images, side, labels, indices, keys, own_share };
        let mut made = Made { batch, broken: BTreeMap::new(), failed: None };
        let tries = if options.on_broken == OnBroken::Replace { n } else { 1 };
        for position in positions {
            for shift in 0..tries {
                if self.stopped() {
                    return None;
                }
                if made.failed.is_some() || made.broken.len() > self.split.tolerated() {
                    // The run ends at this batch, so that the rest of it is of no use.
                    return Some(made);
                }
                let index = self.order[(position + shift) % n];
                let key = match options.sampler {
                    Some(Sampler::Balanced) => position as u32,
                    _ => index,
                };
                if self.push(index, key, &mut made) {
                    break;
                }
            }
        }
        if let Some(mix) = options.mix {
            let size = self.split.transform.size as usize;
            let mut rng = Rng::keyed(options.seed, self.number, number as u32, streams::MIX);
            made.batch.own_share = mix.draw(size, &mut rng).apply(&mut made.batch.images, size);
        }
        Some(made)
    }

    /// Appends a sample to the batch, changed by the random numbers of `key`. False if it is broken.
    fn push(&self, index: u32, key: u32, made: &mut Made) -> bool {
        if made.broken.contains_key(&index) {
            return false;
        }
        let Split { samples, transform, options, .. } = &*self.split;
        let sample = &samples[index as usize];
        match sample.load() {
            Ok(image) => {
                let mut rng = Rng::keyed(options.seed, self.number, key, streams::AUGMENT);
                let Batch { images, labels, indices, keys, .. } = &mut made.batch;
                let start = images.len();
                images.resize(start + transform.values(), 0.0);
                transform.apply(&image, &mut rng, &mut images[start..]);
                options.noise.iter().for_each(|noise| noise.apply(&mut images[start..], index));
                labels.push(sample.label);
                indices.push(index);
                keys.push(key);
                true
            }
            Err(Error::Input { at, what, .. }) => {
                made.broken.insert(index, brief(format!("{at}: {what}")));
                false
            }
            // The image is sound, so that another in its place would change the run.
            Err(other) => {
                made.failed = Some(other);
                false
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Makes the workers end and wakes all who wait.
    fn stop(&self) {
        let queue = lock(&self.queue);
        self.stop.store(true, Ordering::Relaxed);
        drop(queue);
        self.taken.notify_all();
        self.made.notify_all();
    }
}

/// Stops the epoch when its worker panics, so that nobody waits for the batch.
struct Alarm<'a>(&'a Epoch);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Locks, even if a thread panicked meanwhile: what these locks guard is changed in single steps and stays whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
