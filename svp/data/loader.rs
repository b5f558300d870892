//! Batches, decoded and transformed by threads of their own while the model computes.
//!
//! **Order.** A function of (seed, epoch); augmentation of (seed, epoch, sample), mixing of (seed, epoch, batch).
//! Neither the number of workers nor the batch that a resumed epoch starts with changes a byte of any batch.
//!
//! **Broken images.** In training (`Broken::Replace`) the place of a broken image is taken by the next readable
//! sample in the order of the epoch, so batches keep their size; in evaluation (`Broken::Skip`) it is left out.
//! Each one is recorded with its reason. Once more than 1 % of the split, and more than one image, are broken,
//! the iterator yields an error and ends. Both depend on the batches handed out so far, not on the workers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::Rng;

use super::{Mix, Sample, Transform, stream};
use crate::{Error, Result};

/// What becomes of the place of an image that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBroken {
    /// The next readable sample takes it.
    Replace,
    /// It is left out; the batch is smaller.
    Skip,
}

/// How a [`Loader`] hands out its samples.
#[derive(Debug, Clone, Copy)]
pub struct LoaderOptions {
    /// Samples a batch.
    pub batch: usize,
    /// Decoding threads.
    pub workers: usize,
    /// Decides order and augmentation.
    pub seed: u64,
    /// A new order every epoch; otherwise the order of the split.
    pub shuffle: bool,
    /// Leave out a last batch that is not full.
    pub drop_last: bool,
    pub on_broken: OnBroken,
    /// Mixup and cutmix.
    pub mix: Option<Mix>,
}

impl LoaderOptions {
    /// Shuffled, whole batches only, broken images replaced.
    pub fn train(batch: usize, workers: usize, seed: u64) -> Self {
        let on_broken = OnBroken::Replace;
        LoaderOptions { batch, workers, seed, shuffle: true, drop_last: true, on_broken, mix: None }
    }

    /// Every readable image once, in the order of the split.
    pub fn eval(batch: usize, workers: usize) -> Self {
        let on_broken = OnBroken::Skip;
        LoaderOptions { batch, workers, seed: 0, shuffle: false, drop_last: false, on_broken, mix: None }
    }
}

/// Samples of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Number of the batch in its epoch.
    pub number: usize,
    /// `[b 3 size size]`, normalised.
    pub images: Vec<f32>,
    /// Classes, one a sample.
    pub labels: Vec<u32>,
    /// Positions in the split, one a sample.
    pub indices: Vec<u32>,
    /// Share of a sample's own label in its target; the rest is that of the sample at its mirrored place.
    pub own_share: f32,
}

/// An image that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Position in the split.
    pub index: u32,
    /// Path and reason, one line.
    pub reason: String,
}

/// Hands out one split in batches, epoch by epoch.
pub struct Loader {
    shared: Arc<Shared>,
}

/// What the workers and the consumer of all epochs share.
struct Shared {
    samples: Arc<Vec<Sample>>,
    transform: Transform,
    options: LoaderOptions,
    broken: Mutex<BTreeMap<u32, String>>,
    wait: Mutex<Duration>,
}

impl Loader {
    /// # Errors
    /// An empty split, a batch or worker count of 0, a batch larger than the split where it must be full.
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
        let shared = Shared { samples, transform, options, broken: Mutex::default(), wait: Mutex::default() };
        Ok(Loader { shared: Arc::new(shared) })
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> usize {
        let (n, batch) = (self.shared.samples.len(), self.shared.options.batch);
        if self.shared.options.drop_last { n / batch } else { n.div_ceil(batch) }
    }

    /// Starts the workers on the batches of `epoch` from number `start_batch` on. Dropping the iterator stops
    /// them; each finishes at most the image it is at.
    pub fn epoch(&self, epoch: u32, start_batch: usize) -> Batches {
        Batches::start(self.shared.clone(), epoch, start_batch, self.batches())
    }

    /// Time that consumers spent waiting for data, all epochs together.
    pub fn wait(&self) -> Duration {
        *lock(&self.shared.wait)
    }

    /// Images met so far that could not be read, each once, by their position in the split.
    pub fn broken(&self) -> Vec<Broken> {
        let broken = lock(&self.shared.broken);
        broken.iter().map(|(&index, reason)| Broken { index, reason: reason.clone() }).collect()
    }
}

impl Shared {
    /// Most broken images that are put up with.
    fn tolerated(&self) -> usize {
        (self.samples.len() / 100).max(1)
    }

    fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.samples.len() as u32).collect();
        if self.options.shuffle {
            Rng::keyed(self.options.seed, epoch, 0, stream::ORDER).shuffle(&mut order);
        }
        order
    }
}

/// A batch with the broken images met on the way: position in the split to path and reason.
struct Made {
    batch: Batch,
    broken: BTreeMap<u32, String>,
}

/// One epoch, as its workers and its consumer see it.
struct Epoch {
    shared: Arc<Shared>,
    number: u32,
    order: Vec<u32>,
    /// One past the last batch.
    end: usize,
    /// Batches that may be begun before the consumer has taken the first of them.
    ahead: usize,
    /// The consumer is gone, or a worker panicked. Set while `state` is locked.
    stop: AtomicBool,
    state: Mutex<State>,
    /// Tells the consumer that a batch is made.
    made: Condvar,
    /// Tells workers that a batch was taken.
    taken: Condvar,
}

struct State {
    /// Next batch that a worker begins.
    claim: usize,
    /// Next batch that the consumer takes.
    next: usize,
    ready: BTreeMap<usize, Made>,
}

impl Epoch {
    /// What a worker does: batch after batch until there are no more or the consumer is gone.
    fn work(&self) {
        let _alarm = Alarm(self);
        while let Some(made) = self.claim().and_then(|number| self.make(number)) {
            lock(&self.state).ready.insert(made.batch.number, made);
            self.made.notify_one();
        }
    }

    /// The number of the next batch to make, as soon as it is not too far ahead.
    fn claim(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        while state.claim >= state.next + self.ahead && !self.stopped() {
            state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let number = state.claim;
        state.claim += 1;
        (number < self.end && !self.stopped()).then_some(number)
    }

    /// Makes a batch, or nothing when told to stop.
    fn make(&self, number: usize) -> Option<Made> {
        let (options, n) = (&self.shared.options, self.order.len());
        let places = number * options.batch..((number + 1) * options.batch).min(n);
        let images = Vec::with_capacity(places.len() * self.shared.transform.values());
        let batch = Batch { number, images, labels: Vec::new(), indices: Vec::new(), own_share: 1.0 };
        let mut made = Made { batch, broken: BTreeMap::new() };
        let tries = if options.on_broken == OnBroken::Replace { n } else { 1 };
        for place in places {
            for shift in 0..tries {
                if self.stopped() {
                    return None;
                }
                if made.broken.len() > self.shared.tolerated() {
                    // The run ends at this batch: what else would be in it is of no use.
                    return Some(made);
                }
                if self.push(self.order[(place + shift) % n], &mut made) {
                    break;
                }
            }
        }
        if let Some(mix) = options.mix {
            let size = self.shared.transform.size as usize;
            let mut rng = Rng::keyed(options.seed, self.number, number as u32, stream::MIX);
            made.batch.own_share = mix.draw(size, &mut rng).apply(&mut made.batch.images, size);
        }
        Some(made)
    }

    /// Appends a sample to the batch; false if it is broken.
    fn push(&self, index: u32, made: &mut Made) -> bool {
        if made.broken.contains_key(&index) {
            return false;
        }
        let Shared { samples, transform, options, .. } = &*self.shared;
        let sample = &samples[index as usize];
        match sample.source.load() {
            Ok(image) => {
                let mut rng = Rng::keyed(options.seed, self.number, index, stream::AUGMENT);
                let Batch { images, labels, indices, .. } = &mut made.batch;
                let start = images.len();
                images.resize(start + transform.values(), 0.0);
                transform.apply(&image, &mut rng, &mut images[start..]);
                labels.push(sample.label);
                indices.push(index);
                true
            }
            Err(Error::Input { at, what, .. }) => {
                made.broken.insert(index, format!("{at}: {what}"));
                false
            }
            Err(other) => {
                made.broken.insert(index, other.to_string());
                false
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        let state = lock(&self.state);
        self.stop.store(true, Ordering::Relaxed);
        drop(state);
        self.taken.notify_all();
        self.made.notify_all();
    }
}

/// Lets nobody wait for a batch of a worker that panicked.
struct Alarm<'a>(&'a Epoch);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Iterator over the batches of an epoch; ends after an error.
pub struct Batches {
    epoch: Arc<Epoch>,
    workers: Vec<JoinHandle<()>>,
}

impl Batches {
    fn start(shared: Arc<Shared>, number: u32, start: usize, end: usize) -> Self {
        let workers = shared.options.workers.min(end.saturating_sub(start));
        let epoch = Arc::new(Epoch {
            order: shared.order(number),
            shared,
            number,
            end,
            // One batch in the making a worker, and one waiting.
            ahead: workers + 1,
            stop: AtomicBool::new(false),
            state: Mutex::new(State { claim: start, next: start, ready: BTreeMap::new() }),
            made: Condvar::new(),
            taken: Condvar::new(),
        });
        let run = |_| {
            let epoch = epoch.clone();
            std::thread::spawn(move || epoch.work())
        };
        let workers = (0..workers).map(run).collect();
        Batches { epoch, workers }
    }

    /// Waits for the next batch.
    fn receive(&self) -> Result<Option<Made>> {
        let begun = Instant::now();
        let mut state = lock(&self.epoch.state);
        let number = state.next;
        if number >= self.epoch.end {
            return Ok(None);
        }
        let made = loop {
            if let Some(made) = state.ready.remove(&number) {
                break made;
            }
            if self.epoch.stopped() {
                return Err(Error::input("data", "a data worker failed", "see the message above"));
            }
            state = self.epoch.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.next += 1;
        drop(state);
        self.epoch.taken.notify_all();
        *lock(&self.epoch.shared.wait) += begun.elapsed();
        Ok(Some(made))
    }

    /// Records the broken images of a batch; an error if there are now too many.
    fn record(&self, broken: BTreeMap<u32, String>) -> Result<()> {
        let shared = &self.epoch.shared;
        let mut all = lock(&shared.broken);
        all.extend(broken);
        let (count, total) = (all.len(), shared.samples.len());
        if count <= shared.tolerated() && count < total {
            return Ok(());
        }
        let first = all.values().next().map_or("", String::as_str);
        let what = format!("{count} of {total} images met so far are broken, the first is {first}");
        Err(Error::input("data", what, "more than 1 % stops the run: repair or remove them"))
    }

    fn stop(&mut self) {
        self.epoch.stop();
        for worker in self.workers.drain(..) {
            // The message of a worker that panicked is out already.
            let _ = worker.join();
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let taken = self.receive().and_then(|made| match made {
                Some(Made { batch, broken }) => self.record(broken).map(|()| Some(batch)),
                None => Ok(None),
            });
            match taken {
                // All images of the batch were left out.
                Ok(Some(batch)) if batch.labels.is_empty() => continue,
                Ok(batch) => return batch.map(Ok),
                Err(error) => {
                    self.stop();
                    lock(&self.epoch.state).next = self.epoch.end;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The data behind a lock stays whole whoever panicked: it is only ever replaced in one go.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
