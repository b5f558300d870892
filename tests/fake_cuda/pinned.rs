//! Memory of the host that the device reads and writes when work runs.

use std::alloc::{Layout, alloc};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::stream::Fault;

/// Byte that new and freed memory is filled with.
const GARBAGE: u8 = 0xA5;

#[derive(Debug, Default)]
pub struct Pinned {
    /// Sizes by address, and whether the block is live. Freed blocks are kept, so that their addresses stay unused.
    blocks: BTreeMap<usize, (usize, bool)>,
}

impl Pinned {
    /// Allocates a block; `None` where the host does not have as much memory.
    pub fn alloc(&mut self, bytes: usize) -> Option<usize> {
        let layout = Layout::from_size_align(bytes, 4096).ok().filter(|layout| layout.size() > 0)?;
        // SAFETY: the size is not 0.
        let at = unsafe { alloc(layout) };
        if at.is_null() {
            return None;
        }
        // SAFETY: so many bytes were just made there.
        unsafe { at.write_bytes(GARBAGE, bytes) };
        self.blocks.insert(at as usize, (bytes, true));
        Some(at as usize)
    }

    /// Frees a block; false for an address that is not that of a block.
    pub fn free(&mut self, at: usize) -> bool {
        let Some((bytes, live @ true)) = self.blocks.get_mut(&at) else { return false };
        // SAFETY: a block of that size; who frees it does not use it any more.
        unsafe { (at as *mut u8).write_bytes(GARBAGE, *bytes) };
        *live = false;
        true
    }

    /// Whether the first of these bytes is pinned, or was.
    pub fn has(&self, at: usize) -> bool {
        self.block(at).is_some()
    }

    pub fn live(&self) -> usize {
        self.blocks.values().filter(|(_, live)| *live).count()
    }

    fn block(&self, at: usize) -> Option<(usize, usize, bool)> {
        let (&start, &(bytes, live)) = self.blocks.range(..=at).next_back()?;
        (at < start + bytes).then_some((start, bytes, live))
    }

    fn check(&self, at: usize, bytes: usize) -> Result<(), Fault> {
        match self.block(at) {
            Some((start, size, true)) if bytes <= start + size - at => Ok(()),
            Some((start, size, true)) => {
                Err(format!("{bytes} bytes at byte {} of {size} bytes of pinned memory", at - start))
            }
            Some((_, _, false)) => Err(format!("pinned memory at {at:#x} was freed before a copy ran")),
            None => Err(format!("{at:#x} is not pinned")),
        }
    }

    pub fn read(&self, at: usize, bytes: usize) -> Result<Vec<u8>, Fault> {
        self.check(at, bytes)?;
        let mut copy = vec![0; bytes];
        // SAFETY: inside a live block, whose bytes were all written; not the memory of `copy`.
        unsafe { (at as *const u8).copy_to_nonoverlapping(copy.as_mut_ptr(), bytes) };
        Ok(copy)
    }

    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.check(at, bytes.len())?;
        // SAFETY: inside a live block; not the memory of `bytes`.
        unsafe { bytes.as_ptr().copy_to_nonoverlapping(at as *mut u8, bytes.len()) };
        Ok(())
    }
}

/// Reads memory that is not pinned, whatever it holds by now. The system answers for memory that was unmapped.
pub fn ordinary(at: usize, bytes: usize) -> Result<Vec<u8>, Fault> {
    let mut copy = vec![0; bytes];
    let memory = File::open("/proc/self/mem").and_then(|memory| memory.read_exact_at(&mut copy, at as u64));
    memory.map_err(|why| format!("{bytes} bytes of ordinary memory at {at:#x} when a copy ran: {why}"))?;
    Ok(copy)
}
