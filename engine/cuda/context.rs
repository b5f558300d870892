//! The context of a device with its two streams.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};
use std::fmt::Display;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::sys as cu;

use super::functions::Driver;
use super::report::{About, waits};
use crate::Result;

thread_local! {
    /// [`Context::id`] of the context that is current on this thread.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// A handle that the driver or cuBLASLt gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handle<T>(pub *mut T);

// SAFETY: handles are names; the functions that take them may be called by any thread, also at the same time.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: handles are names; the functions that take them may be called by any thread, also at the same time.
unsafe impl<T> Sync for Handle<T> {}

impl<T> Default for Handle<T> {
    fn default() -> Self {
        Handle(null_mut())
    }
}

/// The primary context of a device, and its streams. What is launched runs in the order of `compute`; `copy` carries what
/// travels beside it.
#[derive(Debug)]
pub(super) struct Context {
    driver: &'static Driver,
    device: cu::CUdevice,
    context: Handle<cu::CUctx_st>,
    /// Tells contexts apart: a handle may come back after its context is gone, this number does not.
    id: u64,
    pub compute: Handle<cu::CUstream_st>,
    pub copy: Handle<cu::CUstream_st>,
    /// Every launch is waited for.
    pub waits: bool,
}

impl Context {
    /// Opens the primary context of a device.
    pub(super) fn open(driver: &'static Driver, device: cu::CUdevice) -> Result<Arc<Self>> {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let mut context = Context {
            driver,
            device,
            context: Handle::default(),
            id: IDS.fetch_add(1, Ordering::Relaxed),
            compute: Handle::default(),
            copy: Handle::default(),
            waits: waits(),
        };
        let flags = cu::CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
        // SAFETY: each call writes one handle. A stream is made in the context that `enter` makes current.
        unsafe {
            driver.cuDevicePrimaryCtxRetain(&mut context.context.0, device).about(|| "opening the device")?;
            context.enter()?;
            driver.cuStreamCreate(&mut context.compute.0, flags).about(|| "the compute stream")?;
            driver.cuStreamCreate(&mut context.copy.0, flags).about(|| "the copy stream")?;
        }
        Ok(Arc::new(context))
    }

    /// Makes this context current on the calling thread, and returns the driver's functions.
    pub(super) fn enter(&self) -> Result<&'static Driver> {
        if CURRENT.get() != self.id {
            // SAFETY: the context is retained as long as `self` lives.
            unsafe { self.driver.cuCtxSetCurrent(self.context.0) }.about(|| "making the context current")?;
            CURRENT.set(self.id);
        }
        Ok(self.driver)
    }

    /// Waits for everything that was put into a stream, of which `what` was the last.
    pub(super) fn synchronize<D: Display>(
        &self,
        stream: Handle<cu::CUstream_st>,
        what: impl FnOnce() -> D,
    ) -> Result<()> {
        // SAFETY: it is one of this context's streams.
        unsafe { self.enter()?.cuStreamSynchronize(stream.0) }.about(what)
    }

    /// A property of the device.
    pub(super) fn attribute(&self, attribute: cu::CUdevice_attribute) -> Result<usize> {
        let mut value: c_int = 0;
        // SAFETY: the call writes one integer.
        unsafe { self.driver.cuDeviceGetAttribute(&mut value, attribute, self.device) }
            .about(|| format!("{attribute:?}"))?;
        Ok(value as usize)
    }

    /// The device whose context this is.
    pub(super) fn device(&self) -> cu::CUdevice {
        self.device
    }
}

impl Drop for Context {
    /// Failures are ignored: they mean that the device is of no use any more.
    fn drop(&mut self) {
        if self.context.0.is_null() {
            return;
        }
        let Ok(driver) = self.enter() else { return };
        for stream in [self.compute, self.copy] {
            if !stream.0.is_null() {
                // SAFETY: `open` made the stream, and nothing uses it any more.
                let _ = unsafe { driver.cuStreamDestroy_v2(stream.0) };
            }
        }
        CURRENT.set(0);
        // SAFETY: `open` retained the context once.
        let _ = unsafe { driver.cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}
