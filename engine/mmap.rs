//! Memory of its own pages for the bytes of a file, which tensors can share.

use std::io;
use std::ops::Deref;

use memmap2::MmapMut;

use crate::budget::Claim;

/// Read-only memory that begins at a page, and its claim on the budget. No file is behind it, so that no other program
/// can change or shorten it.
#[derive(Debug)]
pub struct Mmap {
    map: memmap2::Mmap,
    /// Held as long as the memory.
    _claim: Claim,
}

impl Mmap {
    /// Memory of `length` bytes that `fill` writes; it is zero before. `claim` is that of its bytes.
    ///
    /// # Errors
    /// Memory that cannot be had, and those of `fill`.
    pub fn filled(
        claim: Claim,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut map = MmapMut::map_anon(length)?;
        fill(&mut map)?;
        Ok(Mmap { map: map.make_read_only()?, _claim: claim })
    }
}

impl Deref for Mmap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
