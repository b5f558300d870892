//! The memory of a launched device.
//!
//! What cannot fail on the CPU (making a tensor, adding to one) can fail here, and on a real device only later.
//! Such a failure is kept and returned by the next launch, product or download: every result passes one of those.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::Result;
use crate::device::size_class;
use crate::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Region};

/// A launcher with its free memory by size, and counts.
#[derive(Debug)]
pub struct LaunchedPool {
    launcher: Arc<dyn Launcher>,
    /// Whether freed memory is handed out again.
    reuse: bool,
    free: Mutex<HashMap<usize, Vec<Region>>>,
    in_use: AtomicUsize,
    peak: AtomicUsize,
    failed: Mutex<Option<crate::Error>>,
}

impl LaunchedPool {
    pub(crate) fn new(launcher: Arc<dyn Launcher>, reuse: bool) -> Self {
        LaunchedPool {
            launcher,
            reuse,
            free: Mutex::default(),
            in_use: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            failed: Mutex::default(),
        }
    }

    /// Most bytes ever in use at once, and bytes in use now.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.peak.load(Ordering::Relaxed), self.in_use.load(Ordering::Relaxed))
    }

    /// Memory for a tensor. Where there is none, an empty region; the failure is kept.
    pub(crate) fn take(pool: &Arc<LaunchedPool>, bytes: usize) -> LaunchedBuffer {
        let capacity = match (bytes, pool.reuse) {
            (0, _) => 0,
            (_, true) => 4 * size_class(bytes.div_ceil(4)),
            (_, false) => bytes,
        };
        let region = if capacity == 0 { Ok(Region::EMPTY) } else { pool.alloc(capacity) };
        let region = pool.keep(region).unwrap_or(Region::EMPTY);
        let now = pool.in_use.fetch_add(region.bytes, Ordering::Relaxed) + region.bytes;
        pool.peak.fetch_max(now, Ordering::Relaxed);
        LaunchedBuffer { region, used: bytes.min(region.bytes), pool: pool.clone() }
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

    fn give_back(&self, region: Region) {
        self.in_use.fetch_sub(region.bytes, Ordering::Relaxed);
        if self.reuse {
            self.free.lock().unwrap().entry(region.bytes).or_default().push(region);
        } else {
            self.launcher.free(region);
        }
    }

    /// Frees what is not in use.
    fn release(&self) {
        let free = std::mem::take(&mut *self.free.lock().unwrap());
        free.into_values().flatten().for_each(|region| self.launcher.free(region));
    }
}

impl Drop for LaunchedPool {
    fn drop(&mut self) {
        self.release();
    }
}

/// The device as its tensors and ops use it: memory from the pool, kept failures returned.
impl Launcher for LaunchedPool {
    fn name(&self) -> &'static str {
        self.launcher.name()
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        if let Some(region) = self.free.lock().unwrap().get_mut(&bytes).and_then(Vec::pop) {
            return Ok(region);
        }
        self.launcher.alloc(bytes).or_else(|_| {
            // Memory that lies in other sizes may be enough.
            self.release();
            self.launcher.alloc(bytes)
        })
    }

    fn free(&self, region: Region) {
        self.launcher.free(region);
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.with(to, || self.launcher.upload(to, bytes))
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
        self.launcher.gemm(gemm)
    }
}

/// The memory of one tensor; goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct LaunchedBuffer {
    region: Region,
    used: usize,
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
        if self.region.bytes > 0 {
            self.pool.give_back(self.region);
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
