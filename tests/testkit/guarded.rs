//! Adds poison and red zones to a device that has neither, so that errors which a GPU would hide become NaN or are
//! counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::Result;
use engine::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Limits, Region};

/// Bytes before and behind a region; a multiple of the device's alignment, which regions thus keep.
const ZONE: usize = 256;
/// Byte that makes NaN in f32 and in bf16.
const POISON: u8 = 0xFF;

/// A launcher that hands out poisoned memory between red zones and checks these when it is freed.
#[derive(Debug)]
pub struct Guarded<L> {
    inner: L,
    /// The figures that it tells instead of the device's.
    limits: Option<Limits>,
    /// Regions that the device handed out, by the start of the inner region.
    live: Mutex<BTreeMap<u64, Region>>,
    hits: AtomicUsize,
    launches: AtomicUsize,
    entries: Mutex<BTreeSet<&'static str>>,
}

impl<L: Launcher> Guarded<L> {
    /// Guards the memory of a device.
    pub fn new(inner: L) -> Self {
        Guarded {
            inner,
            limits: None,
            live: Mutex::default(),
            hits: AtomicUsize::new(0),
            launches: AtomicUsize::new(0),
            entries: Mutex::default(),
        }
    }

    /// Guards a device for which launches are cut as for another card.
    pub fn cut_for(inner: L, limits: Limits) -> Self {
        Guarded { limits: Some(limits), ..Self::new(inner) }
    }

    /// Number of regions freed since the last call whose red zones were written to or could not be read.
    pub fn take_hits(&self) -> usize {
        self.hits.swap(0, Ordering::Relaxed)
    }

    /// Kernels launched so far.
    pub fn launches(&self) -> usize {
        self.launches.load(Ordering::Relaxed)
    }

    /// Names of the kernels launched so far.
    pub fn entries(&self) -> BTreeSet<&'static str> {
        self.entries.lock().unwrap().clone()
    }

    fn intact(&self, whole: Region) -> bool {
        let zone = |from: Region| {
            let mut bytes = vec![0; ZONE];
            let read = self.inner.download(Region { bytes: ZONE, ..from }, &mut bytes);
            read.is_ok() && bytes.iter().all(|&byte| byte == POISON)
        };
        zone(whole) && zone(whole.skip(whole.bytes - ZONE))
    }
}

impl<L: Launcher> Launcher for Guarded<L> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn limits(&self) -> Limits {
        self.limits.unwrap_or_else(|| self.inner.limits())
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        let whole = self.inner.alloc(bytes + 2 * ZONE)?;
        // A device may hand out more than it was asked for; the second zone starts where the region ends.
        let whole = Region { bytes: bytes + 2 * ZONE, ..whole };
        self.inner.upload(whole, &vec![POISON; whole.bytes])?;
        let region = Region { bytes, ..whole.skip(ZONE) };
        self.live.lock().unwrap().insert(region.at, whole);
        Ok(region)
    }

    fn free(&self, region: Region) {
        let whole = self.live.lock().unwrap().remove(&region.at).expect("handed out here");
        self.hits.fetch_add(usize::from(!self.intact(whole)), Ordering::Relaxed);
        self.inner.free(whole);
    }

    fn memory(&self) -> Option<[usize; 2]> {
        self.inner.memory()
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.inner.upload(to, bytes)
    }

    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        self.inner.download(from, bytes)
    }

    fn copy(&self, to: Region, from: Region) -> Result<()> {
        self.inner.copy(to, from)
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.inner.zero(region)
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        self.launches.fetch_add(1, Ordering::Relaxed);
        self.entries.lock().unwrap().insert(kernel.entry);
        self.inner.launch(kernel, grid, args)
    }

    fn gemm(&self, gemm: &BlasGemm) -> Result<()> {
        self.inner.gemm(gemm)
    }
}
