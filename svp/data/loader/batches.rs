//! One epoch as its consumer sees it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use engine::budget::Claim;

use super::{Batch, Epoch, Made, OnBroken, Queue, Split, lock};
use crate::error::{Error, Result};

/// Iterator over the batches of an epoch. It ends after an error.
pub struct Batches {
    pub(super) epoch: Arc<Epoch>,
    workers: Vec<JoinHandle<()>>,
    /// What kept the epoch from starting, until it is told.
    refused: Option<Error>,
}

impl Batches {
    pub(super) fn start(split: Arc<Split>, number: u32, start: usize, end: usize) -> Self {
        let workers = split.options.workers.min(end.saturating_sub(start));
        // Each worker may be making one batch while one more waits.
        let ahead = workers + 1;
        let (claim, refused) = match split.claim(workers) {
            Ok(claim) => (claim, None),
            Err(refused) => (Claim::default(), Some(refused)),
        };
        let epoch = Arc::new(Epoch {
            order: split.order(number),
            split,
            number,
            end,
            ahead,
            stop: AtomicBool::new(false),
            queue: Mutex::new(Queue { claim: start, next: start, ready: BTreeMap::new() }),
            made: Condvar::new(),
            taken: Condvar::new(),
            _claim: claim,
        });
        let mut batches = Batches { epoch, workers: vec![], refused };
        if batches.refused.is_none() {
            batches.start_workers(workers);
        }
        batches
    }

    /// Starts the workers, or none and an error.
    fn start_workers(&mut self, workers: usize) {
        for number in 1..=workers {
            let epoch = self.epoch.clone();
            match std::thread::Builder::new().name("data".into()).spawn(move || epoch.work()) {
                Ok(worker) => self.workers.push(worker),
                Err(e) => {
                    self.stop();
                    let what = format!("data worker {number} of {workers} cannot be started: {e}");
                    let hint = "use fewer --workers or --threads, or raise the limit on threads (ulimit -u)";
                    self.refused = Some(Error::input("data", what, hint));
                    return;
                }
            }
        }
    }

    /// Waits for the next batch.
    fn receive(&mut self) -> Result<Option<Made>> {
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let begun = Instant::now();
        let mut queue = lock(&self.epoch.queue);
        let number = queue.next;
        if number >= self.epoch.end {
            return Ok(None);
        }
        let made = loop {
            if let Some(made) = queue.ready.remove(&number) {
                break made;
            }
            if self.epoch.stopped() {
                return Err(Error::input("data", "a data worker failed", "see the message above"));
            }
            queue = self.epoch.made.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        queue.next += 1;
        drop(queue);
        self.epoch.taken.notify_all();
        *lock(&self.epoch.split.wait) += begun.elapsed();
        Ok(Some(made))
    }

    /// Records the broken images of a batch.
    ///
    /// # Errors
    /// Too many broken images so far, and images of an archive that another program changed, which are not broken.
    fn record(&self, broken: BTreeMap<u32, String>) -> Result<()> {
        let split = &self.epoch.split;
        let archive = |index: &u32| split.samples[*index as usize].source.archive();
        broken.keys().filter_map(archive).try_for_each(|archive| archive.unchanged())?;
        let mut all = lock(&split.broken);
        let before = all.len();
        all.extend(broken);
        let (count, total) = (all.len(), split.samples.len());
        let any = split.options.on_broken == OnBroken::SkipAny;
        if any || count <= split.tolerated() && count < total {
            let training = split.options.on_broken == OnBroken::Replace;
            return if training && count > before { split.check_classes(&all) } else { Ok(()) };
        }
        let first = all.values().next().map_or("", String::as_str);
        let what = format!("{count} of {total} images met so far are broken, the first is {first}");
        let most = split.tolerated().min(total - 1);
        Err(Error::input("data", what, format!("more than {most} stop the run: repair or remove them")))
    }

    fn stop(&mut self) {
        self.epoch.stop();
        for worker in self.workers.drain(..) {
            // A worker that panicked has printed its message already.
            let _ = worker.join();
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let taken = self.receive().and_then(|made| match made {
                Some(Made { failed: Some(error), .. }) => Err(error),
                Some(Made { batch, broken, .. }) => self.record(broken).map(|()| Some(batch)),
                None => Ok(None),
            });
            match taken {
                // All images of this batch were left out.
                Ok(Some(batch)) if batch.labels.is_empty() => continue,
                Ok(batch) => return batch.map(Ok),
                Err(error) => {
                    self.stop();
                    lock(&self.epoch.queue).next = self.epoch.end;
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
