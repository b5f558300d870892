//! Memory of the device, which comes from the driver's stream-ordered pool, and pinned memory of the host.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use cudarc::driver::sys as cu;

use super::context::{Context, Handle};
use super::error::{OUT_OF_MEMORY, failed};
use super::event::Event;
use super::report::{About, device_memory, out_of_memory, text};
use crate::Result;
use crate::launch::Region;

/// The device's memory. What is freed stays in the driver's pool for the next that asks.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    context: Arc<Context>,
    pool: Handle<cu::CUmemPoolHandle_st>,
}

impl Memory {
    /// Finds the pool of the device, and lets it keep what is freed.
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        let driver = context.enter()?;
        let mut pool = Handle::default();
        let mut keep = u64::MAX;
        let threshold = cu::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the first call writes a handle, and the second reads the 8 bytes that this attribute has.
        unsafe {
            driver
                .cuDeviceGetDefaultMemPool(&mut pool.0, context.device())
                .and_then(|()| driver.cuMemPoolSetAttribute(pool.0, threshold, (&raw mut keep).cast()))
        }
        .about(|| "the memory pool")?;
        Ok(Memory { context: context.clone(), pool })
    }

    /// Makes memory for what comes into the compute stream from here on. Where there is too little, waits for what is
    /// being freed.
    pub(super) fn alloc(&self, bytes: usize) -> Result<Region> {
        let stream = self.context.compute;
        if let Some(region) = self.alloc_in(stream, bytes)? {
            return Ok(region);
        }
        self.trim()?;
        self.alloc_in(stream, bytes)?.ok_or_else(|| out_of_memory(bytes))
    }

    /// Makes memory while the compute stream records. Nothing is freed meanwhile, so there is nothing to wait for.
    pub(super) fn alloc_while_recording(&self, bytes: usize) -> Result<Region> {
        let region = self.alloc_in(self.context.copy, bytes)?.ok_or_else(|| out_of_memory(bytes))?;
        self.context.synchronize(self.context.copy, || format!("{bytes} bytes of memory"))?;
        Ok(region)
    }

    /// Makes memory for what comes into a stream; `None` where there is too little.
    fn alloc_in(&self, stream: Handle<cu::CUstream_st>, bytes: usize) -> Result<Option<Region>> {
        let driver = self.context.enter()?;
        let mut at = 0;
        // SAFETY: the call writes one address.
        match unsafe { driver.cuMemAllocAsync(&mut at, bytes, stream.0) } {
            Err(error) if error.code == OUT_OF_MEMORY => Ok(None),
            made => made.about(|| format!("{bytes} bytes of memory")).map(|()| Some(Region { at, bytes })),
        }
    }

    /// Waits for what was launched, and gives free memory back to the system. What one stream has freed is there for another
    /// only after this.
    pub(super) fn trim(&self) -> Result<()> {
        let what = || "giving back free memory";
        self.context.synchronize(self.context.compute, what)?;
        // SAFETY: it is the pool of the device.
        unsafe { self.context.enter()?.cuMemPoolTrimTo(self.pool.0, 0) }.about(what)
    }

    /// Frees a region once what was launched before is done. A failure is ignored: it means that the device is of no use any
    /// more.
    pub(super) fn free(&self, region: Region) {
        if let Ok(driver) = self.context.enter() {
            // SAFETY: it is memory of this device, which its owner gives up.
            let _ = unsafe { driver.cuMemFreeAsync(region.at, self.context.compute.0) };
        }
    }

    /// Free bytes and all bytes of the device when everything that was launched is done.
    pub(super) fn info(&self) -> Option<[usize; 2]> {
        self.trim().ok()?;
        device_memory()
    }

    /// Copies bytes from the device, and waits for them.
    pub(super) fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        assert_eq!(from.bytes, bytes.len());
        let (driver, stream) = (self.context.enter()?, self.context.compute);
        let what = || format!("download of {} bytes", from.bytes);
        let to = bytes.as_mut_ptr().cast();
        // SAFETY: `from` is memory of this device of that size; `bytes` is borrowed until all bytes are there.
        unsafe { driver.cuMemcpyDtoHAsync_v2(to, from.at, from.bytes, stream.0) }.about(what)?;
        self.context.synchronize(stream, what)
    }

    /// Copies a region to another.
    pub(super) fn copy(&self, to: Region, from: Region) -> Result<()> {
        assert_eq!(to.bytes, from.bytes);
        let (driver, stream) = (self.context.enter()?, self.context.compute);
        // SAFETY: both are memory of this device of that size.
        unsafe { driver.cuMemcpyDtoDAsync_v2(to.at, from.at, from.bytes, stream.0) }
            .about(|| format!("copy of {} bytes", from.bytes))
    }

    /// Fills a region with zero bytes.
    pub(super) fn zero(&self, region: Region) -> Result<()> {
        let (driver, stream) = (self.context.enter()?, self.context.compute);
        // SAFETY: the region is memory of this device of that size.
        unsafe { driver.cuMemsetD8Async(region.at, 0, region.bytes, stream.0) }
            .about(|| format!("zeroing {} bytes", region.bytes))
    }
}

/// Memory of the host that the device reads and writes by itself.
#[derive(Debug)]
pub(super) struct Pinned {
    context: Arc<Context>,
    at: Handle<c_void>,
    bytes: usize,
    /// The mark after the last transfer from here or to here.
    pub done: Event,
}

impl Pinned {
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self> {
        let (driver, done) = (context.enter()?, Event::new(context)?);
        let mut at = Handle::default();
        // SAFETY: the call writes one address. At least one byte is asked for, because there is no memory of no size.
        let made = unsafe { driver.cuMemHostAlloc(&mut at.0, bytes.max(1), 0) };
        made.map_err(|error| failed(format!("{}, {bytes} bytes of pinned host memory", text(error))))?;
        // SAFETY: that many bytes were just made at that address; they are initialised from here on.
        unsafe { at.0.cast::<u8>().write_bytes(0, bytes) };
        Ok(Pinned { context: context.clone(), at, bytes, done })
    }

    /// The bytes, once nothing travels from here or to here any more.
    pub(super) fn bytes(&mut self) -> Result<&mut [u8]> {
        self.done.wait(&format!("transfer of {} bytes", self.bytes))?;
        // SAFETY: the memory is ours and initialised, and no transfer touches it, because the mark follows each.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.at.0.cast(), self.bytes) })
    }

    /// Starts to copy the first bytes, as many as the region has, to the device.
    pub(super) fn upload(&self, to: Region, stream: Handle<cu::CUstream_st>) -> Result<()> {
        assert!(to.bytes <= self.bytes);
        // SAFETY: both memories have that many bytes, and nobody writes these before the transfer is done.
        unsafe { self.context.enter()?.cuMemcpyHtoDAsync_v2(to.at, self.at.0, to.bytes, stream.0) }
            .about(|| format!("upload of {} bytes", to.bytes))
    }

    /// Starts to copy bytes from the device.
    pub(super) fn download(&self, from: Region, stream: Handle<cu::CUstream_st>) -> Result<()> {
        assert_eq!(from.bytes, self.bytes);
        // SAFETY: both memories have that size, and nobody reads these bytes before the transfer is done.
        unsafe { self.context.enter()?.cuMemcpyDtoHAsync_v2(self.at.0, from.at, self.bytes, stream.0) }
            .about(|| format!("download of {} bytes", self.bytes))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Ok(driver) = self.context.enter() {
            let _ = self.done.wait("transfer");
            // SAFETY: `new` made the memory, and no transfer is on its way.
            let _ = unsafe { driver.cuMemFreeHost(self.at.0) };
        }
    }
}

/// Pinned memory that nobody uses, by size. It is kept because making it takes long.
#[derive(Debug)]
pub(super) struct PinnedPool {
    context: Arc<Context>,
    free: Mutex<HashMap<usize, Vec<Pinned>>>,
}

impl PinnedPool {
    pub(super) fn new(context: &Arc<Context>) -> Self {
        PinnedPool { context: context.clone(), free: Mutex::default() }
    }

    /// Takes memory of a size.
    pub(super) fn take(&self, bytes: usize) -> Result<Pinned> {
        let free = self.free.lock().unwrap().get_mut(&bytes).and_then(Vec::pop);
        free.map_or_else(|| Pinned::new(&self.context, bytes), Ok)
    }

    /// Keeps memory for the next that asks.
    pub(super) fn give_back(&self, pinned: Pinned) {
        self.free.lock().unwrap().entry(pinned.bytes).or_default().push(pinned);
    }
}
