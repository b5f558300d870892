//! Devices and their memory.
//!
//! The CPU device keeps freed buffers and hands them out again: a training step asks for the same sizes
//! every time, and fresh pages from the system cost more than the arithmetic of a small op.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use memmap2::MmapMut;

use crate::cuda::Cuda;
use crate::emulated::Emulated;
use crate::launch::Launcher;
use crate::launched::{LaunchedPool, Recording};
use crate::{Error, Result};

/// Alignment of every buffer: a cache line, and a full AVX-512 vector.
const ALIGN: usize = 64;
/// Guard words on both sides of a buffer, checked when it is freed (conformance tests only).
const GUARD: usize = ALIGN / 4;
/// Blocks from this many bytes on are mapped.
const HUGE_PAGE: usize = 2 << 20;
const GUARD_BITS: u32 = 0x7FC0_5EED;

/// Where a tensor lives and an op runs. Cheap to clone; tensors of one device share its memory pool.
#[derive(Debug, Clone)]
pub enum Device {
    Cpu(Arc<CpuPool>),
    Launched(Arc<LaunchedPool>),
}

impl Device {
    /// A CPU device with an empty pool.
    pub fn cpu() -> Self {
        Device::Cpu(Arc::new(CpuPool::default()))
    }

    /// A CPU device for tests: fresh buffers hold NaN, and writes outside a buffer are found.
    pub fn cpu_checked() -> Self {
        let pool = CpuPool::default();
        pool.checked.store(true, Ordering::Relaxed);
        Device::Cpu(Arc::new(pool))
    }

    /// A device that runs kernels on the CPU and checks what they do.
    pub fn emulated() -> Self {
        Self::launched(Arc::new(Emulated::new()))
    }

    /// The NVIDIA GPU of this number, counted as the driver counts.
    ///
    /// # Errors
    /// Of [`Cuda::open`].
    pub fn cuda(ordinal: usize) -> Result<Self> {
        Ok(Self::launched(Arc::new(Cuda::open(ordinal)?)))
    }

    /// A device that runs kernels; freed memory is handed out again.
    pub fn launched(launcher: Arc<dyn Launcher>) -> Self {
        Device::Launched(Arc::new(LaunchedPool::new(launcher, true)))
    }

    /// [`Device::launched`] for tests: every tensor gets memory of its own, of exactly its size, so that a
    /// launcher that watches memory sees reads of what nobody wrote and accesses outside a tensor.
    pub fn launched_checked(launcher: Arc<dyn Launcher>) -> Self {
        Device::Launched(Arc::new(LaunchedPool::new(launcher, false)))
    }

    /// What runs this device's kernels; `None` on the CPU.
    pub fn launcher(&self) -> Option<&dyn Launcher> {
        match self {
            Device::Cpu(_) => None,
            Device::Launched(pool) => Some(&**pool),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu(_) => "cpu",
            Device::Launched(pool) => pool.name(),
        }
    }

    /// What a GPU is, in a line for reports.
    pub fn info(&self) -> Option<String> {
        self.launcher().and_then(Launcher::info)
    }

    /// Most bytes ever in use at once, and bytes in use now.
    pub fn memory(&self) -> (usize, usize) {
        match self {
            Device::Cpu(pool) => (pool.peak.load(Ordering::Relaxed), pool.in_use.load(Ordering::Relaxed)),
            Device::Launched(pool) => pool.memory(),
        }
    }

    /// Free and all memory of a device that has its own.
    pub fn own_memory(&self) -> Option<[usize; 2]> {
        self.launcher().and_then(Launcher::memory)
    }

    /// Bytes that are held now, for tensors, for recordings, and for tensors to come.
    pub fn held(&self) -> usize {
        match self {
            Device::Cpu(pool) => pool.held.load(Ordering::Relaxed),
            Device::Launched(pool) => pool.held(),
        }
    }

    /// Gives memory that no tensor and no recording uses back.
    pub fn trim(&self) {
        match self {
            Device::Cpu(pool) => pool.trim(),
            Device::Launched(pool) => pool.trim(),
        }
    }

    /// On a launched device, f32 operands of products may be rounded to TF32 from now on, or no longer.
    pub fn allow_tf32(&self, allow: bool) {
        if let Device::Launched(pool) = self {
            pool.allow_tf32(allow);
        }
    }

    /// Records what `work` launches instead of running it. Tensors that it makes keep their places: they hold
    /// their values after each [`Recording::run`], as far as they still live. Values must not be read in `work`.
    pub fn record<T, E: From<Error>>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Recording, T), E> {
        match self {
            Device::Launched(pool) => LaunchedPool::record_calls(pool, work),
            Device::Cpu(_) => {
                let what = "the CPU computes at once".into();
                Err(Error::Unsupported { op: "record", what }.into())
            }
        }
    }

    /// Writes found outside a buffer since the device was made (checked CPU devices only).
    pub fn red_zone_hits(&self) -> usize {
        match self {
            Device::Cpu(pool) => pool.hits.load(Ordering::Relaxed),
            Device::Launched(_) => 0,
        }
    }
}

/// Free buffers by capacity, and counts.
#[derive(Debug, Default)]
pub struct CpuPool {
    free: Mutex<HashMap<usize, Vec<Block>>>,
    in_use: AtomicUsize,
    peak: AtomicUsize,
    held: AtomicUsize,
    checked: AtomicBool,
    hits: AtomicUsize,
}

/// Owned memory: where it is, its length in floats, and the mapping that holds it when it is large.
#[derive(Debug)]
struct Block(NonNull<f32>, usize, Option<MmapMut>);

// SAFETY: a block is owned memory; nothing else points to it.
unsafe impl Send for Block {}

impl CpuPool {
    fn trim(&self) {
        let free = std::mem::take(&mut *self.free.lock().unwrap());
        let bytes: usize = free.iter().map(|(capacity, blocks)| capacity * 4 * blocks.len()).sum();
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn take(pool: &Arc<CpuPool>, len: usize) -> Buffer {
        let checked = pool.checked.load(Ordering::Relaxed);
        let capacity = size_class(len + if checked { 2 * GUARD } else { 0 });
        let reused = pool.free.lock().unwrap().get_mut(&capacity).and_then(Vec::pop);
        let block = reused.unwrap_or_else(|| {
            pool.held.fetch_add(capacity * 4, Ordering::Relaxed);
            Block::new(capacity)
        });
        let now = pool.in_use.fetch_add(capacity * 4, Ordering::Relaxed) + capacity * 4;
        pool.peak.fetch_max(now, Ordering::Relaxed);
        let mut buffer =
            Buffer { block: Some(block), len, guard: if checked { GUARD } else { 0 }, pool: pool.clone() };
        if checked {
            buffer.raw().fill(f32::from_bits(GUARD_BITS));
            buffer.as_mut_slice().fill(f32::NAN);
        }
        buffer
    }
}

/// Rounds up to one of four sizes per power of two, so that freed buffers fit again.
pub(crate) fn size_class(len: usize) -> usize {
    let len = len.max(16);
    let step = (len.next_power_of_two() / 8).max(16);
    len.div_ceil(step) * step
}

impl Block {
    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity * 4, ALIGN).expect("size of a tensor")
    }

    fn new(capacity: usize) -> Self {
        Self::mapped(capacity).unwrap_or_else(|| Self::on_heap(capacity))
    }

    /// Large blocks in huge pages where the system has them: with small ones, the step of Vim-S spends a tenth
    /// of its time on address translation.
    fn mapped(capacity: usize) -> Option<Self> {
        if capacity * 4 < HUGE_PAGE {
            return None;
        }
        let mut map = MmapMut::map_anon((capacity * 4).next_multiple_of(HUGE_PAGE)).ok()?;
        #[cfg(target_os = "linux")]
        // A refusal costs speed only.
        let _ = map.advise(memmap2::Advice::HugePage);
        let at = NonNull::new(map.as_mut_ptr().cast())?;
        Some(Block(at, capacity, Some(map)))
    }

    fn on_heap(capacity: usize) -> Self {
        let layout = Self::layout(capacity);
        // SAFETY: the layout has a non-zero size (a size class is at least 16 elements).
        let at = unsafe { alloc(layout) };
        let Some(at) = NonNull::new(at.cast::<f32>()) else { handle_alloc_error(layout) };
        // Touch the memory once, so that every later view is of initialised floats.
        // SAFETY: `capacity` floats were just allocated at `at`.
        unsafe { at.write_bytes(0, capacity) };
        Block(at, capacity, None)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.2.is_none() {
            // SAFETY: allocated by `Block::on_heap` with this layout.
            unsafe { dealloc(self.0.as_ptr().cast(), Self::layout(self.1)) }
        }
    }
}

/// A writable run of floats that goes back to its pool when dropped. Its content is unspecified at first.
#[derive(Debug)]
pub(crate) struct Buffer {
    block: Option<Block>,
    len: usize,
    guard: usize,
    pool: Arc<CpuPool>,
}

// SAFETY: shared access is read-only; writing needs `&mut`.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn raw(&mut self) -> &mut [f32] {
        let block = self.block.as_ref().expect("present until drop");
        // SAFETY: the block holds `block.1` initialised floats and is owned by this buffer alone.
        unsafe { std::slice::from_raw_parts_mut(block.0.as_ptr(), block.1) }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        let block = self.block.as_ref().expect("present until drop");
        // SAFETY: guard + len floats fit in the block's capacity, all initialised.
        unsafe { std::slice::from_raw_parts(block.0.as_ptr().add(self.guard), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        let range = self.guard..self.guard + self.len;
        &mut self.raw()[range]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.guard > 0 {
            let (guard, end) = (self.guard, self.guard + self.len);
            let raw = self.raw();
            let hit = raw[..guard].iter().chain(&raw[end..]).any(|v| v.to_bits() != GUARD_BITS);
            self.pool.hits.fetch_add(usize::from(hit), Ordering::Relaxed);
        }
        let block = self.block.take().expect("present until drop");
        self.pool.in_use.fetch_sub(block.1 * 4, Ordering::Relaxed);
        if let Ok(mut free) = self.pool.free.lock() {
            free.entry(block.1).or_default().push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_buffers_come_back_and_counts_are_kept() {
        let pool = Arc::new(CpuPool::default());
        let a = CpuPool::take(&pool, 1000);
        let at = a.as_slice().as_ptr();
        drop(a);
        assert_eq!(CpuPool::take(&pool, 1001).as_slice().as_ptr(), at, "same size class");
        let (peak, now) = Device::Cpu(pool).memory();
        assert!(peak >= 4000 && now == 0, "{peak} {now}");
    }

    #[test]
    fn size_classes_waste_at_most_a_quarter() {
        for len in [1, 16, 17, 1000, 1024, 1025, 4_841_472] {
            let class = size_class(len);
            assert!(class >= len && (class * 4 <= len * 5 + 64), "{len} {class}");
        }
    }

    #[test]
    fn a_checked_device_poisons_and_finds_stray_writes() {
        let device = Device::cpu_checked();
        let Device::Cpu(pool) = &device else { panic!("a CPU device") };
        let mut a = CpuPool::take(pool, 10);
        assert!(a.as_slice().iter().all(|v| v.is_nan()));
        let at = a.as_mut_slice().as_mut_ptr();
        // SAFETY: the guard follows the ten floats in the same allocation.
        unsafe { at.add(10).write(1.0) };
        drop(a);
        assert_eq!(device.red_zone_hits(), 1);
    }
}
