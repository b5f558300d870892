//! The heap from which kernels take memory by `malloc`. It lives as long as its machine.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The first address of the heap.
const HEAP: u64 = 0x1_0000_0000;
/// The most bytes that a heap can have; other memory lies behind.
const MOST_HEAP: usize = 0xe000_0000;
/// The bytes of a page, which is made when it is first used.
pub(crate) const PAGE: u64 = 32 << 10;
/// The alignment of what `malloc` gives, and the gap after it.
const STEP: u64 = 16;

/// The heap of a machine.
#[derive(Debug)]
pub(crate) struct Heap {
    bytes: u64,
    /// Some kernel has called `malloc`.
    used: AtomicBool,
    blocks: Mutex<Blocks>,
}

/// What was given out, by addresses.
#[derive(Debug)]
struct Blocks {
    /// The bytes of each block in use.
    live: BTreeMap<u64, u64>,
    /// The bytes of each block that was freed and whose memory was not given out again.
    freed: BTreeMap<u64, u64>,
    /// The bytes of all blocks in use, with their gaps.
    taken: u64,
    /// Where the search for the next block begins, so that freed memory is used again as late as possible.
    next: u64,
}

/// Why a block cannot be freed, or an address not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// The block was freed before.
    Freed,
    /// The address is that of no block, or the access runs over the end of one of so many bytes.
    NoBlock,
    PastEnd(u64),
}

/// The bytes of a block with the gap after it.
fn span(bytes: u64) -> u64 {
    bytes.max(1).saturating_add(STEP).checked_next_multiple_of(STEP).unwrap_or(u64::MAX)
}

impl Heap {
    pub fn new(bytes: usize) -> Self {
        let bytes = (bytes.min(MOST_HEAP) as u64).next_multiple_of(PAGE);
        Self {
            bytes,
            used: AtomicBool::new(false),
            blocks: Mutex::new(Blocks {
                live: BTreeMap::new(),
                freed: BTreeMap::new(),
                taken: 0,
                next: HEAP,
            }),
        }
    }

    /// The number of pages.
    pub fn pages(&self) -> usize {
        (self.bytes / PAGE) as usize
    }

    /// Notes that a kernel which calls `malloc` was launched; returns whether one was.
    pub fn note_use(&self, now: bool) -> bool {
        if now {
            self.used.store(true, Relaxed);
        }
        self.used.load(Relaxed)
    }

    /// The number of the page in which an address lies.
    pub fn page_at(&self, at: u64) -> Option<usize> {
        let offset = at.checked_sub(HEAP).filter(|&offset| offset < self.bytes)?;
        Some((offset / PAGE) as usize)
    }

    /// The first address of a page.
    pub fn page_address(&self, number: usize) -> u64 {
        HEAP + number as u64 * PAGE
    }

    /// The pages that a range of addresses touches, each with the bytes of it that belong to the range.
    pub fn parts(&self, at: u64, bytes: u64) -> impl Iterator<Item = (usize, Range<u64>)> {
        let (from, to) = (at - HEAP, at - HEAP + bytes);
        (from / PAGE..to.div_ceil(PAGE)).map(move |page| {
            let first = page * PAGE;
            (page as usize, from.max(first) - first..to.min(first + PAGE) - first)
        })
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives out memory; `None` where there is no room.
    pub fn alloc(&self, bytes: u64) -> Option<u64> {
        let mut blocks = self.blocks();
        let (span, end) = (span(bytes), HEAP + self.bytes);
        if span > self.bytes - blocks.taken {
            return None;
        }
        let next = blocks.next;
        let at = blocks.room(next, end, span).or_else(|| blocks.room(HEAP, end, span))?;
        let over: Vec<u64> = blocks.freed.range(at..at + span).map(|(&at, _)| at).collect();
        let before = blocks.freed.range(..at).next_back().filter(|&(&b, &n)| b + n > at).map(|(&b, _)| b);
        for gone in over.into_iter().chain(before) {
            blocks.freed.remove(&gone);
        }
        blocks.live.insert(at, bytes);
        blocks.taken += span;
        blocks.next = at + span;
        Some(at)
    }

    /// Takes a block back.
    pub fn free(&self, at: u64) -> Result<(), Misuse> {
        let mut blocks = self.blocks();
        let Some(bytes) = blocks.live.remove(&at) else {
            return Err(if blocks.freed.contains_key(&at) { Misuse::Freed } else { Misuse::NoBlock });
        };
        blocks.taken -= span(bytes);
        blocks.freed.insert(at, bytes);
        Ok(())
    }

    /// Checks that an access lies in one block in use.
    pub fn check(&self, at: u64, bytes: u64) -> Result<(), Misuse> {
        let blocks = self.blocks();
        let within = |of: &BTreeMap<u64, u64>| {
            let (&start, &len) = of.range(..=at).next_back()?;
            Some((start, len, at + bytes <= start + len))
        };
        match (within(&blocks.live), within(&blocks.freed)) {
            (Some((_, _, true)), _) => Ok(()),
            (_, Some((_, _, true))) => Err(Misuse::Freed),
            (Some((start, len, false)), _) if at < start + span(len) => Err(Misuse::PastEnd(len)),
            _ => Err(Misuse::NoBlock),
        }
    }
}

impl Blocks {
    /// The first address from `from` on at which `span` bytes are free.
    fn room(&self, from: u64, end: u64, wanted: u64) -> Option<u64> {
        let mut at = from;
        if let Some((&before, &bytes)) = self.live.range(..from).next_back() {
            at = at.max(before + span(bytes));
        }
        for (&start, &bytes) in self.live.range(from..) {
            if start >= at && start - at >= wanted {
                break;
            }
            at = at.max(start + span(bytes));
        }
        (end.checked_sub(at)? >= wanted).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_meet_and_come_back_late() {
        let heap = Heap::new(PAGE as usize);
        let (a, b) = (heap.alloc(100).unwrap(), heap.alloc(1).unwrap());
        assert!(a % 16 == 0 && b % 16 == 0 && b >= a + 116);
        assert_eq!(heap.check(a + 96, 4), Ok(()));
        assert_eq!(heap.check(a + 97, 4), Err(Misuse::PastEnd(100)));
        assert_eq!(heap.check(b + 1, 1), Err(Misuse::PastEnd(1)));
        assert_eq!(heap.check(b + 64, 1), Err(Misuse::NoBlock));
        assert_eq!(heap.free(a + 16), Err(Misuse::NoBlock));
        assert_eq!(heap.free(a), Ok(()));
        assert_eq!(heap.free(a), Err(Misuse::Freed));
        assert_eq!(heap.check(a, 4), Err(Misuse::Freed));
        let c = heap.alloc(100).unwrap();
        assert!(c > b);
        // All that is left, and then what was freed first.
        assert_eq!(heap.alloc(PAGE), None);
        let rest = heap.alloc(PAGE - 32 - (c + 128 - HEAP)).unwrap();
        assert!(rest > c);
        assert_eq!(heap.alloc(50), Some(a));
        assert_eq!(heap.check(a + 49, 1), Ok(()));
        assert_eq!(heap.free(a), Ok(()));
        assert_eq!(heap.alloc(u64::MAX), None);
    }
}
