//! The memory of a launched device.
//!
//! What cannot fail on the CPU (making a tensor, adding to one) can fail here, and on a real device only later.
//! Such a failure is kept and returned by the next launch, product or download: every result passes one of those.
//!
//! Memory that a recording uses is given to nobody else while the recording lives: a replay writes there again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::Result;
use crate::device::size_class;
use crate::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Pending, Region, Replay};

/// A launcher with its free memory by size, and counts.
#[derive(Debug)]
pub struct LaunchedPool {
    launcher: Arc<dyn Launcher>,
    /// Whether freed memory is handed out again.
    reuse: bool,
    free: Mutex<Free>,
    /// The same of memory that recordings use.
    recorded: Mutex<Free>,
    /// Whether calls are being recorded, and the recordings that live.
    recording: AtomicBool,
    recordings: AtomicUsize,
    tf32: AtomicBool,
    in_use: AtomicUsize,
    peak: AtomicUsize,
    /// Bytes that the launcher gave and did not get back.
    held: AtomicUsize,
    failed: Mutex<Option<crate::Error>>,
}

/// Regions by their size.
type Free = HashMap<usize, Vec<Region>>;

impl LaunchedPool {
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

    /// Most bytes ever in use at once, and bytes in use now.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.peak.load(Ordering::Relaxed), self.in_use.load(Ordering::Relaxed))
    }

    /// Memory for a tensor. Where there is none, a region at 0, which nothing runs on: the failure is kept, and the
    /// next call returns it.
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

    /// Calls the launcher for a region that is not empty, unless a failure was kept.
    fn with(&self, region: Region, call: impl FnOnce() -> Result<()>) -> Result<()> {
        self.check()?;
        if region.bytes == 0 { Ok(()) } else { call() }
    }

    fn give_back(&self, region: Region, recorded: bool) {
        self.in_use.fetch_sub(region.bytes, Ordering::Relaxed);
        let free = match recorded {
            true if self.recordings.load(Ordering::Relaxed) > 0 => &self.recorded,
            false if self.reuse => &self.free,
            _ => return self.free(region),
        };
        free.lock().unwrap().entry(region.bytes).or_default().push(region);
    }

    /// Frees what is not in use.
    fn release(&self, free: &Mutex<Free>) {
        let free = std::mem::take(&mut *free.lock().unwrap());
        free.into_values().flatten().for_each(|region| self.free(region));
    }

    /// Frees what is not in use and no recording needs.
    pub(crate) fn trim(&self) {
        self.release(&self.free);
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Rounds f32 operands of products to TF32 from now on, or no longer.
    pub(crate) fn allow_tf32(&self, allow: bool) {
        self.tf32.store(allow, Ordering::Relaxed);
    }

    /// Records what `work` does instead of doing it.
    pub(crate) fn record_calls<T, E: From<crate::Error>>(
        pool: &Arc<LaunchedPool>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Recording, T), E> {
        pool.check()?;
        // What ran before the recording used about as much memory as it will, and may need it no more.
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

/// Calls that a launched device runs as often as wanted, always on the same memory.
#[derive(Debug)]
pub struct Recording {
    /// `None` only while it is dropped.
    replay: Option<Result<Box<dyn Replay>>>,
    pool: Arc<LaunchedPool>,
}

impl Recording {
    /// Runs the calls after what was launched before.
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

/// The device as its tensors and ops use it: memory from the pool, kept failures returned.
impl Launcher for LaunchedPool {
    fn name(&self) -> &'static str {
        self.launcher.name()
    }

    fn info(&self) -> Option<String> {
        self.launcher.info()
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        let free = if self.recording.load(Ordering::Relaxed) { &self.recorded } else { &self.free };
        if let Some(region) = free.lock().unwrap().get_mut(&bytes).filter(|_| self.reuse).and_then(Vec::pop) {
            return Ok(region);
        }
        let region = self.launcher.alloc(bytes).or_else(|_| {
            // Memory that lies in other sizes may be enough.
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

/// The memory of one tensor; goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct LaunchedBuffer {
    region: Region,
    used: usize,
    /// Made while calls were recorded.
    recorded: bool,
    pool: Arc<LaunchedPool>,
}

impl LaunchedBuffer {
    pub(crate) fn pool(&self) -> &Arc<LaunchedPool> {
        &self.pool
    }

    /// The bytes of the tensor, without what the size class adds.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Error, Tensor};

    /// Host memory behind made-up addresses, `limit` bytes in all; runs nothing.
    #[derive(Debug, Default)]
    struct Memory {
        limit: usize,
        blocks: Mutex<HashMap<u64, Vec<u8>>>,
        made: AtomicUsize,
    }

    fn refuse<T>(what: &str) -> Result<T> {
        Err(Error::Device { device: "test", what: what.into() })
    }

    impl Launcher for Memory {
        fn name(&self) -> &'static str {
            "test"
        }

        fn alloc(&self, bytes: usize) -> Result<Region> {
            let mut blocks = self.blocks.lock().unwrap();
            if blocks.values().map(Vec::len).sum::<usize>() + bytes > self.limit {
                return refuse("out of memory");
            }
            let at = (1 + self.made.fetch_add(1, Ordering::Relaxed) as u64) << 40;
            blocks.insert(at, vec![0xAA; bytes]);
            Ok(Region { at, bytes })
        }

        fn free(&self, region: Region) {
            self.blocks.lock().unwrap().remove(&region.at).expect("allocated");
        }

        fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
            self.blocks.lock().unwrap().get_mut(&to.at).expect("allocated")[..to.bytes]
                .copy_from_slice(bytes);
            Ok(())
        }

        fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
            bytes.copy_from_slice(&self.blocks.lock().unwrap()[&from.at][..from.bytes]);
            Ok(())
        }

        fn copy(&self, to: Region, from: Region) -> Result<()> {
            let mut bytes = vec![0; from.bytes];
            self.download(from, &mut bytes)?;
            self.upload(to, &bytes)
        }

        fn zero(&self, region: Region) -> Result<()> {
            self.upload(region, &vec![0; region.bytes])
        }

        fn launch(&self, kernel: Kernel, _: Grid, _: &[Arg]) -> Result<()> {
            refuse(kernel.entry)
        }

        fn gemm(&self, _: &BlasGemm) -> Result<()> {
            refuse("gemm")
        }
    }

    fn device(limit: usize) -> (Arc<Memory>, Device) {
        let memory = Arc::new(Memory { limit, ..Memory::default() });
        (memory.clone(), Device::launched(memory))
    }

    #[test]
    fn values_go_there_and_come_back() {
        let (memory, device) = device(1 << 20);
        let values = [1.5, -2.0, 3.25];
        let a = Tensor::from_slice(&device, &values, &[3]);
        assert_eq!(a.to_host().unwrap(), values);
        assert_eq!(a.to_device(&Device::cpu()).unwrap().as_slice(), values);
        assert_eq!(
            Tensor::from_vec(values.into(), &[3]).to_device(&device).unwrap().to_host().unwrap(),
            values
        );
        let mut b = a.clone();
        b.make_unique(&device);
        b.fill_zero();
        assert_eq!((a.to_host().unwrap(), b.to_host().unwrap()), (values.into(), vec![0.0; 3]));
        assert!(a.check_finite("a").is_ok());
        assert!(Tensor::empty(&device, &[0, 7]).to_host().unwrap().is_empty());
        drop((a, b, device));
        assert!(memory.blocks.lock().unwrap().is_empty(), "everything is freed");
    }

    #[test]
    fn freed_memory_comes_back_and_counts_are_kept() {
        let (memory, device) = device(1 << 20);
        let a = Tensor::empty(&device, &[1000]);
        let at = a.region();
        assert_eq!(at.bytes, 4000);
        drop(a);
        let b = Tensor::empty_typed(&device, DType::Bf16, &[2001]);
        assert_eq!((b.region().at, b.region().bytes), (at.at, 4002), "same size class");
        assert_eq!(device.memory(), (4096, 4096));
        drop(b);
        assert_eq!(device.memory(), (4096, 0));
        assert_eq!(memory.made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_checked_device_hands_nothing_out_twice() {
        let memory = Arc::new(Memory { limit: 100, ..Memory::default() });
        let device = Device::launched_checked(memory.clone());
        for _ in 0..2 {
            assert_eq!(Tensor::zeros(&device, &[25]).to_host().unwrap(), [0.0; 25]);
        }
        assert_eq!(memory.made.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn full_memory_is_an_error_of_the_next_result() {
        let (memory, device) = device(8192);
        drop(Tensor::empty(&device, &[1024]));
        let _large = Tensor::empty(&device, &[2048]);
        assert_eq!(memory.made.load(Ordering::Relaxed), 2, "room was made by freeing what was kept");
        let mut lost = Tensor::zeros(&device, &[2048]);
        lost.add_assign(&device, &Tensor::zeros(&device, &[2048]));
        assert_eq!(lost.to_host().unwrap_err().to_string(), "test device: out of memory");
        drop(lost);
        let mut small = Tensor::zeros(&device, &[]);
        small.add_assign(&device, &small.clone());
        let failed = small.to_host().unwrap_err().to_string();
        assert_eq!(failed, "test device: out of memory");
    }
}
