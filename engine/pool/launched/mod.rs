//! The memory of a launched device.
//!
//! What cannot fail on the CPU (to make a tensor, to add to one) can fail here, and on a GPU only later. Such a failure is
//! kept and returned by the next launch, product or download: every result passes through one of those.
//!
//! Memory that a recording uses is given to nobody else while the recording lives, because a replay writes there again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::size_class::size_class;
use crate::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Limits, Pending, Region, Replay};
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// A launcher with its free memory by size, and counts of all of it.
#[derive(Debug)]
pub struct LaunchedPool {
    launcher: Arc<dyn Launcher>,
    /// Freed memory is handed out again.
    reuse: bool,
    free: Mutex<Free>,
    /// Free memory that recordings use.
    recorded: Mutex<Free>,
    /// Calls are being recorded now.
    recording: AtomicBool,
    /// The number of recordings that live.
    recordings: AtomicUsize,
    tf32: AtomicBool,
    in_use: AtomicUsize,
    peak: AtomicUsize,
    /// The bytes that the launcher gave and did not get back.
    held: AtomicUsize,
    /// A failure that no call has returned yet.
    failed: Mutex<Option<Error>>,
}

/// Regions by their size in bytes.
type Free = HashMap<usize, Vec<Region>>;

impl LaunchedPool {
    /// Makes an empty pool. With `reuse`, freed memory is handed out again.
    pub(crate) fn new(launcher: Arc<dyn Launcher>, reuse: bool) -> Self {
        LaunchedPool {
            launcher,
            reuse,
            free: Mutex::default(),
            recorded: Mutex::default(),
            recording: AtomicBool::new(false),
            recordings: AtomicUsize::new(0),
            tf32: AtomicBool::new(false),
            in_use: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            failed: Mutex::default(),
        }
    }

    /// What runs the kernels.
    pub(crate) fn inner(&self) -> Arc<dyn Launcher> {
        self.launcher.clone()
    }

    /// The most bytes that were ever in use at once, and the bytes that are in use now.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.peak.load(Ordering::Relaxed), self.in_use.load(Ordering::Relaxed))
    }

    /// Takes memory for a tensor. Where there is none, the region is at 0 and nothing runs on it: the failure is kept, and
    /// the next call returns it.
    pub(crate) fn take(pool: &Arc<LaunchedPool>, bytes: usize) -> LaunchedBuffer {
        let capacity = match (bytes, pool.reuse) {
            (0, _) => 0,
            (_, true) => 4 * size_class(bytes.div_ceil(4)),
            (_, false) => bytes,
        };
        let region = if capacity == 0 { Ok(Region::EMPTY) } else { pool.alloc(capacity) };
        let region = pool.keep(region).unwrap_or(Region { at: 0, bytes: capacity });
        if region.at != 0 {
            let now = pool.in_use.fetch_add(region.bytes, Ordering::Relaxed) + region.bytes;
            pool.peak.fetch_max(now, Ordering::Relaxed);
        }
        let recorded = pool.recording.load(Ordering::Relaxed);
        LaunchedBuffer { region, used: bytes, recorded, pool: pool.clone() }
    }

    /// Keeps a failure for the next call that can return it.
    pub(crate) fn keep<T>(&self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed.lock().unwrap().get_or_insert(error);
                None
            }
        }
    }

    /// Returns a failure that was kept.
    fn check(&self) -> Result<()> {
        self.failed.lock().unwrap().take().map_or(Ok(()), Err)
    }

    /// Returns a failure that was kept, else makes `call` if the region is not empty.
    fn with(&self, region: Region, call: impl FnOnce() -> Result<()>) -> Result<()> {
        self.check()?;
        if region.bytes == 0 { Ok(()) } else { call() }
    }

    /// Takes back the memory of a tensor.
    fn give_back(&self, region: Region, recorded: bool) {
        self.in_use.fetch_sub(region.bytes, Ordering::Relaxed);
        let free = match recorded {
            true if self.recordings.load(Ordering::Relaxed) > 0 => &self.recorded,
            false if self.reuse => &self.free,
            _ => return self.free(region),
        };
        free.lock().unwrap().entry(region.bytes).or_default().push(region);
    }

    /// Frees all regions of a list.
    fn release(&self, free: &Mutex<Free>) {
        let free = std::mem::take(&mut *free.lock().unwrap());
        free.into_values().flatten().for_each(|region| self.free(region));
    }

    /// Frees the memory that is not in use and that no recording needs.
    pub(crate) fn trim(&self) {
        self.release(&self.free);
    }

    /// The bytes that are held now, in use or not.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Says whether f32 operands of products may be rounded to TF32 from now on.
    pub(crate) fn allow_tf32(&self, allow: bool) {
        self.tf32.store(allow, Ordering::Relaxed);
    }

    /// Records what `work` does instead of doing it.
    pub(crate) fn record_calls<T, E: From<Error>>(
        pool: &Arc<LaunchedPool>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Recording, T), E> {
        pool.check()?;
        // What ran before used about as much memory as the recording will, and may not need it any more.
        pool.trim();
        pool.launcher.record()?;
        pool.recordings.fetch_add(1, Ordering::Relaxed);
        pool.recording.store(true, Ordering::Relaxed);
        let done = work();
        pool.recording.store(false, Ordering::Relaxed);
        let recording = Recording { replay: Some(pool.launcher.recorded()), pool: pool.clone() };
        let done = done?;
        pool.check()?;
        if let Some(Err(error)) = &recording.replay {
            return Err(error.clone().into());
        }
        Ok((recording, done))
    }
}

/// Recorded calls, which a launched device runs as often as wanted, always on the same memory.
#[derive(Debug)]
pub struct Recording {
    /// `None` only while the recording is dropped.
    replay: Option<Result<Box<dyn Replay>>>,
    pool: Arc<LaunchedPool>,
}

impl Recording {
    /// Runs the calls after what was launched before.
    ///
    /// # Errors
    /// A failure that an earlier call left, or one of the device.
    pub fn run(&self) -> Result<()> {
        self.pool.check()?;
        match &self.replay {
            Some(Ok(replay)) => replay.run(),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.replay = None;
        if self.pool.recordings.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.pool.release(&self.pool.recorded);
        }
    }
}

impl Drop for LaunchedPool {
    fn drop(&mut self) {
        self.release(&self.free);
        self.release(&self.recorded);
    }
}

/// The device as its tensors and ops use it: memory comes from the pool, and kept failures are returned.
impl Launcher for LaunchedPool {
    fn name(&self) -> &'static str {
        self.launcher.name()
    }

    fn info(&self) -> Option<String> {
        self.launcher.info()
    }

    fn limits(&self) -> Limits {
        self.launcher.limits()
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        let free = if self.recording.load(Ordering::Relaxed) { &self.recorded } else { &self.free };
        if let Some(region) = free.lock().unwrap().get_mut(&bytes).filter(|_| self.reuse).and_then(Vec::pop) {
            return Ok(region);
        }
        let region = self.launcher.alloc(bytes).or_else(|_| {
            // Free memory of other sizes may be enough when it is given back.
            self.trim();
            self.launcher.alloc(bytes)
        })?;
        self.held.fetch_add(region.bytes, Ordering::Relaxed);
        Ok(region)
    }

    fn free(&self, region: Region) {
        self.held.fetch_sub(region.bytes, Ordering::Relaxed);
        self.launcher.free(region);
    }

    fn memory(&self) -> Option<[usize; 2]> {
        self.launcher.memory()
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.with(to, || self.launcher.upload(to, bytes))
    }

    fn send(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.with(to, || self.launcher.send(to, bytes))
    }

    fn receive(&self, from: Region) -> Result<Box<dyn Pending>> {
        self.check()?;
        self.launcher.receive(from)
    }

    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        self.with(from, || self.launcher.download(from, bytes))
    }

    fn copy(&self, to: Region, from: Region) -> Result<()> {
        self.with(from, || self.launcher.copy(to, from))
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.with(region, || self.launcher.zero(region))
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        self.check()?;
        self.launcher.launch(kernel, grid, args)
    }

    fn gemm(&self, gemm: &BlasGemm) -> Result<()> {
        self.check()?;
        self.launcher.gemm(&BlasGemm { tf32: self.tf32.load(Ordering::Relaxed), ..*gemm })
    }

    fn record(&self) -> Result<()> {
        self.launcher.record()
    }

    fn recorded(&self) -> Result<Box<dyn Replay>> {
        self.launcher.recorded()
    }
}

/// The memory of one tensor, which goes back to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct LaunchedBuffer {
    region: Region,
    /// The bytes of the tensor; the size class may add some.
    used: usize,
    /// The memory was made while calls were recorded.
    recorded: bool,
    pool: Arc<LaunchedPool>,
}

impl LaunchedBuffer {
    /// The pool that the memory comes from.
    pub(crate) fn pool(&self) -> &Arc<LaunchedPool> {
        &self.pool
    }

    /// The bytes of the tensor.
    pub(crate) fn region(&self) -> Region {
        Region { bytes: self.used, ..self.region }
    }
}

impl Drop for LaunchedBuffer {
    fn drop(&mut self) {
        if self.region.at != 0 {
            self.pool.give_back(self.region, self.recorded);
        }
    }
}
