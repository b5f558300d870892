//! Global memory: buffers that lie far apart, and for each byte whether it was written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use crate::checks::Checks;
use crate::fault::{Fault, FaultKind};
use crate::heap::{Heap, PAGE};
use crate::output::Output;

/// The first address of a machine's buffers.
const FIRST: u64 = 0x2_0000_0000;
/// The alignment of buffers in bytes.
const ALIGN: u64 = 256;
/// The least distance between the end of one buffer and the start of the next, in bytes.
const GAP: u64 = 4096;

/// The mask of all four bytes of a word.
pub(crate) const WHOLE_WORD: u8 = 0xf;

/// One allocation, as words of 32 bits that several threads may touch.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub at: u64,
    pub bytes: u64,
    words: Box<[AtomicU32]>,
    /// One bit for each byte of a word, set once the byte was written.
    written: Box<[AtomicU8]>,
    /// Every byte was written, so that nothing has to be looked up.
    whole: AtomicBool,
}

impl Buffer {
    pub fn new(at: u64, bytes: u64) -> Self {
        let words = bytes.div_ceil(4) as usize;
        Self {
            at,
            bytes,
            // All ones are NaN in every float type, so that unchecked runs do not look right by luck.
            words: std::iter::repeat_with(|| AtomicU32::new(u32::MAX)).take(words).collect(),
            written: std::iter::repeat_with(|| AtomicU8::new(0)).take(words).collect(),
            whole: AtomicBool::new(bytes == 0),
        }
    }

    /// Makes a buffer that holds `init` and zeros after it.
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

    /// Whether all bytes of `mask` (one bit for each) of a word were written.
    #[inline(always)]
    pub fn has(&self, index: usize, mask: u8) -> bool {
        self.written[index].load(Relaxed) & mask == mask
    }

    /// Writes the bytes of `mask` of a word and notes them as written.
    #[inline(always)]
    pub fn put(&self, index: usize, value: u32, mask: u8) {
        if mask == WHOLE_WORD {
            self.words[index].store(value, Relaxed);
            self.written[index].store(WHOLE_WORD, Relaxed);
        } else {
            self.put_part(index, value, mask);
        }
    }

    /// Writes a part of a word, while other threads may write its other bytes.
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

    /// Writes all bytes.
    pub fn fill(&self, bytes: &[u8]) {
        self.write(0, bytes);
        self.whole.store(true, Relaxed);
    }

    /// Makes bytes count as never written.
    pub fn forget(&self, part: Range<u64>) {
        for at in part {
            self.written[(at / 4) as usize].fetch_and(!(1 << (at % 4)), Relaxed);
        }
        self.whole.store(false, Relaxed);
    }

    /// Writes bytes from `offset` on.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
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

    /// Reads bytes from `offset` on. The error is the first offset that nothing wrote.
    pub fn read(&self, offset: u64, bytes: &mut [u8], checked: bool) -> Result<(), u64> {
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

/// The bits of a word that belong to the bytes of a mask.
#[inline(always)]
pub(crate) fn byte_mask(mask: u8) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|k| if mask >> k & 1 == 1 { 0xff } else { 0 }))
}

/// How a machine runs kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Makes the checks of `which`. Addresses are always checked.
    pub checks: bool,
    /// Which checks are made where `checks` is true.
    pub which: Checks,
    /// With 0, a launch stops at its first fault. Else it goes on after faults that these checks find, and returns them
    /// together, at most so many: one for each kind and line. Other faults, such as addresses out of bounds, still stop it.
    pub collect: usize,
    /// The number of workers that run blocks; 0 for as many as the global thread pool has.
    pub threads: usize,
    /// Chooses the order of blocks, and of warps between barriers; 0 runs blocks in the order of the grid.
    pub seed: u64,
    /// The instructions that the warps of a block may execute before it counts as an endless loop.
    pub max_instructions: u64,
    /// The bytes of static and dynamic shared memory that a block may have together; 227 KiB on an H100.
    pub max_shared: u32,
    /// The bytes from which kernels take memory by `malloc`, up to 3.5 GiB; 8 MiB unless told, as on a GPU.
    pub heap: usize,
}

impl Options {
    /// The checks that are made.
    pub(crate) fn checks(&self) -> Checks {
        if self.checks { self.which } else { Checks::NONE }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            checks: true,
            which: Checks::default(),
            collect: 0,
            threads: 0,
            seed: 0,
            max_instructions: 1 << 32,
            max_shared: 227 << 10,
            heap: 8 << 20,
        }
    }
}

/// The variables of a module in a machine.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub module: Weak<()>,
    pub variables: Vec<Arc<Buffer>>,
}

/// Global memory, and the options with which kernels run. Threads share it by reference.
#[derive(Debug)]
pub struct Machine {
    pub(crate) options: Options,
    buffers: RwLock<BTreeMap<u64, Arc<Buffer>>>,
    /// The variables of the modules whose kernels were launched here.
    pub(crate) loaded: Mutex<Vec<Loaded>>,
    next: AtomicU64,
    /// The number of launches so far.
    pub(crate) launches: AtomicU32,
    pub(crate) heap: Heap,
    /// The memory of the heap, by pages that are made when they are first used.
    heap_pages: Box<[OnceLock<Arc<Buffer>>]>,
    pub(crate) output: Output,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// Makes a machine with the default [`Options`], which check everything.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// Makes a machine with other options.
    pub fn with(options: Options) -> Self {
        let heap = Heap::new(options.heap);
        let heap_pages = std::iter::repeat_with(OnceLock::new).take(heap.pages()).collect();
        Self {
            options,
            buffers: RwLock::default(),
            loaded: Mutex::default(),
            next: AtomicU64::new(FIRST),
            launches: AtomicU32::new(0),
            heap,
            heap_pages,
            output: Output::default(),
        }
    }

    /// Allocates `bytes` of memory, which count as never written, and returns their address. It is a multiple of 256, and
    /// no address is ever used again.
    pub fn alloc(&self, bytes: usize) -> u64 {
        let span = (bytes as u64 + GAP).next_multiple_of(ALIGN);
        let at = self.next.fetch_add(span, Relaxed);
        self.buffers_mut().insert(at, Arc::new(Buffer::new(at, bytes as u64)));
        at
    }

    /// Frees the buffer at `at`; to use its address later is a fault. Returns false if no buffer starts there.
    pub fn free(&self, at: u64) -> bool {
        self.buffers_mut().remove(&at).is_some()
    }

    /// Copies `bytes` to the machine's memory at `at`.
    ///
    /// # Errors
    /// [`FaultKind::Host`] if the range does not lie in one buffer.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        let buffer = self.host_range(at, bytes.len(), "write")?;
        buffer.write(at - buffer.at, bytes);
        if bytes.len() as u64 == buffer.bytes {
            buffer.whole.store(true, Relaxed);
        }
        Ok(())
    }

    /// Copies from the machine's memory at `at` to `bytes`.
    ///
    /// # Errors
    /// [`FaultKind::Host`] if the range does not lie in one buffer, and with checks on [`FaultKind::Uninitialised`] at
    /// the first byte that nothing wrote.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let buffer = self.host_range(at, bytes.len(), "read")?;
        let checked = self.options.checks().uninitialised_memory && !buffer.is_whole();
        buffer.read(at - buffer.at, bytes, checked).map_err(|offset| {
            let detail = format!(
                "host read of byte {offset} of a buffer of {} bytes, which nothing wrote",
                buffer.bytes
            );
            Fault::host(FaultKind::Uninitialised, Some(buffer.at + offset), detail)
        })
    }

    /// The memory of a page of the heap.
    pub(crate) fn heap_page(&self, number: usize) -> Arc<Buffer> {
        let make = || Arc::new(Buffer::new(self.heap.page_address(number), PAGE));
        self.heap_pages[number].get_or_init(make).clone()
    }

    /// Takes what kernels have printed since the last call: for each launch block by block, in the order in which blocks
    /// take their turns. Of what nobody takes, 1 MiB is kept, and a last line says so. A launch that ends in a fault prints
    /// up to it.
    pub fn take_output(&self) -> String {
        self.output.take()
    }

    fn buffers_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u64, Arc<Buffer>>> {
        self.buffers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The buffer in which `at` lies.
    pub(crate) fn buffer_at(&self, at: u64) -> Option<Arc<Buffer>> {
        let buffers = self.buffers.read().unwrap_or_else(PoisonError::into_inner);
        let (_, buffer) = buffers.range(..=at).next_back()?;
        (at - buffer.at < buffer.bytes.max(1)).then(|| buffer.clone())
    }

    /// The buffer that holds a whole range; `what` names the request in the fault.
    pub(crate) fn host_range(&self, at: u64, bytes: usize, what: &str) -> Result<Arc<Buffer>, Fault> {
        let fault = |detail| Fault::host(FaultKind::Host, Some(at), detail);
        let buffer = self
            .buffer_at(at)
            .ok_or_else(|| fault(format!("{what} of {bytes} bytes that lie in no buffer")))?;
        if bytes as u64 > buffer.bytes - (at - buffer.at) {
            return Err(fault(format!(
                "{what} of {bytes} bytes runs over the end of a buffer of {}",
                buffer.bytes
            )));
        }
        Ok(buffer)
    }
}
