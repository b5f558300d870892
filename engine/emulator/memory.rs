//! Global memory: buffers far apart, each byte known as written or not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};

use crate::fault::{Fault, FaultKind};

/// First address of a machine's buffers.
const FIRST: u64 = 0x2_0000_0000;
/// Alignment of buffers, and the least distance between the end of one and the start of the next.
const ALIGN: u64 = 256;
const GAP: u64 = 4096;

/// Bytes of one allocation, as 32-bit words that several threads may touch.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub at: u64,
    pub bytes: u64,
    words: Box<[AtomicU32]>,
    /// One bit per byte of a word: written.
    written: Box<[AtomicU8]>,
    /// Every byte was written: nothing to look up.
    whole: AtomicBool,
}

impl Buffer {
    pub fn new(at: u64, bytes: u64) -> Self {
        let words = bytes.div_ceil(4) as usize;
        Self {
            at,
            bytes,
            // NaN in every float type, so that unchecked runs do not look right by luck.
            words: std::iter::repeat_with(|| AtomicU32::new(u32::MAX)).take(words).collect(),
            written: std::iter::repeat_with(|| AtomicU8::new(0)).take(words).collect(),
            whole: AtomicBool::new(bytes == 0),
        }
    }

    /// A buffer with `init` and zeros after it.
    pub fn filled(at: u64, bytes: u64, init: &[u8]) -> Self {
        let buffer = Self::new(at, bytes);
        buffer.write(0, init);
        buffer.write(init.len() as u64, &vec![0; (bytes - init.len() as u64) as usize]);
        buffer.whole.store(true, Relaxed);
        buffer
    }

    #[inline(always)]
    pub fn word(&self, index: usize) -> &AtomicU32 {
        &self.words[index]
    }

    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        self.whole.load(Relaxed)
    }

    /// Whether all bytes of `mask` (one bit per byte) of a word were written.
    #[inline(always)]
    pub fn has(&self, index: usize, mask: u8) -> bool {
        self.written[index].load(Relaxed) & mask == mask
    }

    /// Writes the bytes of `mask` of a word and notes them as written.
    #[inline(always)]
    pub fn put(&self, index: usize, value: u32, mask: u8) {
        if mask == 0xf {
            self.words[index].store(value, Relaxed);
            self.written[index].store(0xf, Relaxed);
        } else {
            self.put_part(index, value, mask);
        }
    }

    /// Other threads may write the other bytes of the word at the same time.
    fn put_part(&self, index: usize, value: u32, mask: u8) {
        let bits = byte_mask(mask);
        let word = &self.words[index];
        let mut old = word.load(Relaxed);
        while let Err(now) = word.compare_exchange_weak(old, old & !bits | value & bits, Relaxed, Relaxed) {
            old = now;
        }
        if !self.has(index, mask) {
            self.written[index].fetch_or(mask, Relaxed);
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let in_word = (at % 4) as usize;
            let n = rest.len().min(4 - in_word);
            let mut value = [0; 4];
            value[in_word..in_word + n].copy_from_slice(&rest[..n]);
            let mask = ((1u8 << n) - 1) << in_word;
            self.put((at / 4) as usize, u32::from_le_bytes(value), mask);
            at += n as u64;
            rest = &rest[n..];
        }
    }

    /// The first offset in a range that nothing wrote.
    fn read(&self, offset: u64, bytes: &mut [u8], checked: bool) -> Result<(), u64> {
        for (k, byte) in bytes.iter_mut().enumerate() {
            let at = offset + k as u64;
            let (index, in_word) = ((at / 4) as usize, (at % 4) as usize);
            if checked && !self.has(index, 1 << in_word) {
                return Err(at);
            }
            *byte = self.words[index].load(Relaxed).to_le_bytes()[in_word];
        }
        Ok(())
    }
}

/// Bits of a word for bytes of a mask.
#[inline(always)]
pub(crate) fn byte_mask(mask: u8) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|k| if mask >> k & 1 == 1 { 0xff } else { 0 }))
}

/// What a machine does beyond running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Uninitialised reads, races, exits before barriers. Addresses are checked always.
    pub checks: bool,
    /// Workers that run blocks; 0 for as many as the global thread pool has.
    pub threads: usize,
    /// Order of blocks, and of warps between barriers.
    pub seed: u64,
    /// Warp-level instructions a block may execute before it counts as an endless loop.
    pub max_instructions: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { checks: true, threads: 0, seed: 0, max_instructions: 1 << 32 }
    }
}

/// Global memory and the settings to run kernels with. Shared between threads by reference.
#[derive(Debug)]
pub struct Machine {
    pub(crate) options: Options,
    buffers: RwLock<BTreeMap<u64, Arc<Buffer>>>,
    next: AtomicU64,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine with the default [`Options`].
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        Self { options, buffers: RwLock::default(), next: AtomicU64::new(FIRST) }
    }

    /// `bytes` of memory that counts as never written; aligned to 256 bytes. Addresses are never used again.
    pub fn alloc(&self, bytes: usize) -> u64 {
        let span = (bytes as u64 + GAP).next_multiple_of(ALIGN);
        let at = self.next.fetch_add(span, Relaxed);
        self.buffers_mut().insert(at, Arc::new(Buffer::new(at, bytes as u64)));
        at
    }

    /// Gives a buffer back; later use of its address is a fault. False if `at` is none.
    pub fn free(&self, at: u64) -> bool {
        self.buffers_mut().remove(&at).is_some()
    }

    /// Copies to the device.
    ///
    /// # Errors
    /// A [`FaultKind::Host`] fault if the range lies in no buffer.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        let buffer = self.host_range(at, bytes.len(), "write")?;
        buffer.write(at - buffer.at, bytes);
        if bytes.len() as u64 == buffer.bytes {
            buffer.whole.store(true, Relaxed);
        }
        Ok(())
    }

    /// Copies from the device.
    ///
    /// # Errors
    /// [`FaultKind::Host`] if the range lies in no buffer, [`FaultKind::Uninitialised`] at the first byte that nothing
    /// wrote (with checks on).
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let buffer = self.host_range(at, bytes.len(), "read")?;
        let checked = self.options.checks && !buffer.is_whole();
        buffer.read(at - buffer.at, bytes, checked).map_err(|offset| Fault {
            kind: FaultKind::Uninitialised,
            kernel: None,
            place: None,
            address: Some(buffer.at + offset),
            detail: format!(
                "host read of byte {offset} of a buffer of {} bytes, which nothing wrote",
                buffer.bytes
            ),
        })
    }

    /// Marks a range as never written again.
    ///
    /// # Errors
    /// A [`FaultKind::Host`] fault if the range lies in no buffer.
    pub fn forget(&self, at: u64, bytes: usize) -> Result<(), Fault> {
        let buffer = self.host_range(at, bytes, "forget")?;
        if bytes > 0 {
            buffer.whole.store(false, Relaxed);
        }
        // A buffer that was whole through the flag alone has its bytes noted all the same: `write` does both.
        for offset in at - buffer.at..at - buffer.at + bytes as u64 {
            buffer.written[(offset / 4) as usize].fetch_and(!(1 << (offset % 4)), Relaxed);
        }
        Ok(())
    }

    fn buffers_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u64, Arc<Buffer>>> {
        self.buffers.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The buffer with the greatest start not above `at`, if `at` lies in it.
    pub(crate) fn buffer_at(&self, at: u64) -> Option<Arc<Buffer>> {
        let buffers = self.buffers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (_, buffer) = buffers.range(..=at).next_back()?;
        (at - buffer.at < buffer.bytes.max(1)).then(|| buffer.clone())
    }

    fn host_range(&self, at: u64, bytes: usize, what: &str) -> Result<Arc<Buffer>, Fault> {
        let fault =
            |detail| Fault { kind: FaultKind::Host, kernel: None, place: None, address: Some(at), detail };
        let buffer =
            self.buffer_at(at).ok_or_else(|| fault(format!("{what} of {bytes} bytes outside any buffer")))?;
        if bytes as u64 > buffer.bytes - (at - buffer.at) {
            return Err(fault(format!(
                "{what} of {bytes} bytes runs over the end of a buffer of {}",
                buffer.bytes
            )));
        }
        Ok(buffer)
    }
}
