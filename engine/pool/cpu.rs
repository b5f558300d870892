//! The memory of the CPU device.
//!
//! Freed memory is kept, because fresh pages from the system cost more than the arithmetic of a small op. What is held
//! counts against the program's [`budget`]. Ops on the CPU return tensors and no results, so memory that is refused ends
//! them by an unwinding that [`or_out_of_memory`](crate::or_out_of_memory) turns into an error.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use memmap2::MmapMut;

use super::size_class::size_class;
use crate::budget::{self, Claim};
use crate::error::{Error, unwind};

/// The alignment of every buffer in bytes: a cache line, which is also a full AVX-512 vector.
const ALIGN: usize = 64;
/// The number of guard words on either side of a checked buffer.
const GUARD: usize = ALIGN / 4;
/// What guard words hold; it is NaN.
const GUARD_BITS: u32 = 0x7FC0_5EED;
/// What fresh floats of a checked buffer hold: NaN, and in bf16 two of them.
const POISON_BITS: u32 = 0x7FC0_7FC0;
/// The size in bytes from which on memory is mapped.
const HUGE_PAGE: usize = 2 << 20;

/// Free memory of the CPU by its capacity, and counts of all of it.
#[derive(Debug, Default)]
pub struct CpuPool {
    free: Mutex<HashMap<usize, Vec<Allocation>>>,
    in_use: AtomicUsize,
    peak: AtomicUsize,
    held: AtomicUsize,
    /// Fresh buffers hold NaN, and lie between guard words.
    checked: bool,
    hits: AtomicUsize,
}

impl CpuPool {
    /// Makes an empty pool. With `checked`, fresh buffers hold NaN, and writes outside them are found when they are
    /// dropped.
    pub(crate) fn new(checked: bool) -> Self {
        CpuPool { checked, ..CpuPool::default() }
    }

    /// The most bytes that were ever in use at once, and the bytes that are in use now.
    pub(crate) fn memory(&self) -> (usize, usize) {
        (self.peak.load(Ordering::Relaxed), self.in_use.load(Ordering::Relaxed))
    }

    /// The bytes that are held now, in use or not.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The number of dropped buffers that had a write outside them.
    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::Relaxed)
    }

    /// Gives the memory that is not in use back to the system.
    pub(crate) fn trim(&self) {
        let free = std::mem::take(&mut *self.free.lock().unwrap());
        let bytes: usize = free.iter().map(|(capacity, all)| capacity * 4 * all.len()).sum();
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes a buffer of `len` floats from a pool.
    pub(crate) fn take(pool: &Arc<CpuPool>, len: usize) -> CpuBuffer {
        let guard = if pool.checked { GUARD } else { 0 };
        let capacity = size_class(len + 2 * guard);
        let reused = pool.free.lock().unwrap().get_mut(&capacity).and_then(Vec::pop);
        let allocation = reused.unwrap_or_else(|| pool.fresh(capacity).unwrap_or_else(|e| unwind(e)));
        let now = pool.in_use.fetch_add(capacity * 4, Ordering::Relaxed) + capacity * 4;
        pool.peak.fetch_max(now, Ordering::Relaxed);
        let mut buffer = CpuBuffer { allocation: Some(allocation), len, guard, pool: pool.clone() };
        if pool.checked {
            buffer.raw().fill(f32::from_bits(GUARD_BITS));
            buffer.as_mut_slice().fill(f32::from_bits(POISON_BITS));
        }
        buffer
    }

    /// Memory from the system; where it is refused, what is free is given back before it is asked for again.
    fn fresh(&self, capacity: usize) -> Result<Allocation, Error> {
        let made = Allocation::new(capacity).or_else(|_| {
            self.trim();
            Allocation::new(capacity)
        });
        if made.is_ok() {
            self.held.fetch_add(capacity * 4, Ordering::Relaxed);
        }
        made
    }
}

/// Memory of its own.
#[derive(Debug)]
struct Allocation {
    at: NonNull<f32>,
    /// The number of floats.
    capacity: usize,
    /// Its bytes of the budget.
    _claim: Claim,
    /// The mapping that holds the memory, when it is large.
    map: Option<MmapMut>,
}

// SAFETY: an allocation owns its memory, and nothing else points to it.
unsafe impl Send for Allocation {}

impl Allocation {
    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity * 4, ALIGN).expect("the size of a tensor")
    }

    /// Takes memory, if budget and system have it.
    fn new(capacity: usize) -> Result<Self, Error> {
        let (asked, device) = (capacity * 4, "cpu");
        let claim = budget::claim(asked as u64).map_err(|refused| Error::Memory {
            device,
            asked,
            free: refused.left as usize,
            total: refused.most as usize,
        })?;
        let memory = Self::mapped(capacity).or_else(|| Self::on_heap(capacity).map(|at| (at, None)));
        match memory {
            Some((at, map)) => Ok(Allocation { at, capacity, _claim: claim, map }),
            // Whatever the budget says, the system has none.
            None => Err(Error::Memory { device, asked, free: 0, total: budget::most() as usize }),
        }
    }

    /// Maps large memory in huge pages where the system has them. With small pages, the step of Vim-S spends a tenth of
    /// its time on address translation.
    fn mapped(capacity: usize) -> Option<(NonNull<f32>, Option<MmapMut>)> {
        if capacity * 4 < HUGE_PAGE {
            return None;
        }
        let mut map = MmapMut::map_anon((capacity * 4).next_multiple_of(HUGE_PAGE)).ok()?;
        #[cfg(target_os = "linux")]
        // If the system refuses, this only costs speed.
        let _ = map.advise(memmap2::Advice::HugePage);
        let at = NonNull::new(map.as_mut_ptr().cast())?;
        Some((at, Some(map)))
    }

    fn on_heap(capacity: usize) -> Option<NonNull<f32>> {
        let layout = Self::layout(capacity);
        // SAFETY: the layout has a non-zero size, because a size class is at least 16 elements.
        let at = unsafe { alloc(layout) };
        let at = NonNull::new(at.cast::<f32>())?;
        // Writing the memory once makes every later view one of initialised floats.
        // SAFETY: `capacity` floats were just allocated at `at`.
        unsafe { at.write_bytes(0, capacity) };
        Some(at)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.map.is_none() {
            // SAFETY: the memory was allocated by `on_heap` with this layout.
            unsafe { dealloc(self.at.as_ptr().cast(), Self::layout(self.capacity)) }
        }
    }
}

/// A run of floats that goes back to its pool when it is dropped. Its content is unspecified at first.
#[derive(Debug)]
pub(crate) struct CpuBuffer {
    /// `None` only while the buffer is dropped.
    allocation: Option<Allocation>,
    len: usize,
    /// The number of guard words before and after the floats.
    guard: usize,
    pool: Arc<CpuPool>,
}

// SAFETY: shared access only reads; writing needs `&mut`.
unsafe impl Sync for CpuBuffer {}

impl CpuBuffer {
    /// All floats of the allocation, guard words included.
    fn raw(&mut self) -> &mut [f32] {
        let allocation = self.allocation.as_ref().expect("present until drop");
        // SAFETY: the allocation holds `capacity` initialised floats and is owned by this buffer alone.
        unsafe { std::slice::from_raw_parts_mut(allocation.at.as_ptr(), allocation.capacity) }
    }

    /// The floats.
    pub(crate) fn as_slice(&self) -> &[f32] {
        let allocation = self.allocation.as_ref().expect("present until drop");
        // SAFETY: guard + len floats fit in the capacity, and all are initialised.
        unsafe { std::slice::from_raw_parts(allocation.at.as_ptr().add(self.guard), self.len) }
    }

    /// The floats, for writing.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        let range = self.guard..self.guard + self.len;
        &mut self.raw()[range]
    }
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        if self.guard > 0 {
            let (guard, end) = (self.guard, self.guard + self.len);
            let raw = self.raw();
            let hit = raw[..guard].iter().chain(&raw[end..]).any(|v| v.to_bits() != GUARD_BITS);
            self.pool.hits.fetch_add(usize::from(hit), Ordering::Relaxed);
        }
        let allocation = self.allocation.take().expect("present until drop");
        self.pool.in_use.fetch_sub(allocation.capacity * 4, Ordering::Relaxed);
        if let Ok(mut free) = self.pool.free.lock() {
            free.entry(allocation.capacity).or_default().push(allocation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_buffers_come_back_and_counts_are_kept() {
        let pool = Arc::new(CpuPool::new(false));
        let a = CpuPool::take(&pool, 1000);
        let at = a.as_slice().as_ptr();
        drop(a);
        assert_eq!(CpuPool::take(&pool, 1001).as_slice().as_ptr(), at, "same size class");
        let (peak, now) = pool.memory();
        assert!(peak >= 4000 && now == 0, "{peak} {now}");
    }

    #[test]
    fn memory_that_nobody_has_is_an_error_and_leaves_the_pool_whole() {
        let pool = Arc::new(CpuPool::new(false));
        let kept = CpuPool::take(&pool, 1000);
        let held = pool.held();
        let asked = 1 << 46;
        let error = crate::or_out_of_memory(|| Ok::<_, Error>(CpuPool::take(&pool, asked / 4))).unwrap_err();
        let line = error.to_string();
        assert!(matches!(error, Error::Memory { device: "cpu", asked: got, .. } if got >= asked), "{line}");
        assert!(line.starts_with("cpu device: out of memory: 67108864 MiB more asked for, "), "{line}");
        assert_eq!((pool.held(), pool.memory().1), (held, held), "nothing of it is counted");
        drop(kept);
        assert_eq!(CpuPool::take(&pool, 1000).as_slice().len(), 1000);
    }

    #[test]
    fn a_checked_pool_poisons_and_finds_stray_writes() {
        let pool = Arc::new(CpuPool::new(true));
        let mut a = CpuPool::take(&pool, 10);
        assert!(a.as_slice().iter().all(|v| v.is_nan()));
        let at = a.as_mut_slice().as_mut_ptr();
        // SAFETY: the guard follows the ten floats in the same allocation.
        unsafe { at.add(10).write(1.0) };
        drop(a);
        assert_eq!(pool.hits(), 1);
    }
}
