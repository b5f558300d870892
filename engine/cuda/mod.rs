//! The CUDA device: the driver runs kernels and cuBLASLt computes products. Both are loaded when they are asked for, so that
//! the same program runs where there is no GPU.
//!
//! - `error` has what the two libraries answer, `functions` what is called in them, `load` finds them, `report` turns failed
//!   calls into errors of the engine, and `info` says which GPUs there are.
//! - `context` has the two streams of a device: `compute` runs everything in the order of the calls, `copy` carries bytes
//!   beside it. An `event` marks a point in a stream.
//! - `memory`, `transfer`, `kernels`, `gemm` (with its `plan`s) and `record` do what a [`Launcher`] does.
//!
//! Calls return before the device has done what they ask for. A failure there is returned by a later call, which may be about
//! something else. With `SVP_CUDA_SYNC=1` each launch is waited for, and the message names the right one.

#[allow(unsafe_code, reason = "calls the driver")]
mod context;
mod error;
#[allow(unsafe_code, reason = "calls the driver")]
mod event;
#[allow(unsafe_code, reason = "finds C functions and calls them")]
mod functions;
#[allow(unsafe_code, reason = "calls cuBLASLt")]
mod gemm;
#[allow(unsafe_code, reason = "calls the driver")]
mod info;
#[allow(unsafe_code, reason = "calls the driver")]
mod kernels;
#[allow(unsafe_code, reason = "loads C libraries")]
mod load;
#[allow(unsafe_code, reason = "calls the driver")]
mod memory;
#[allow(unsafe_code, reason = "calls cuBLASLt")]
mod plan;
#[allow(unsafe_code, reason = "calls the driver")]
mod record;
#[allow(unsafe_code, reason = "calls the driver")]
mod report;
mod transfer;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};

pub use event::CallTimes;
pub use info::{DeviceInfo, Status, status};

use context::Context;
use error::failed;
use event::CallTimer;
use gemm::Products;
use kernels::{Kernels, LaunchText};
use record::Deferred;
use transfer::Transfers;

use crate::Result;
use crate::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Limits, Pending, Region, Replay};

/// The launcher of one GPU. Clones are the same device.
#[derive(Debug, Clone)]
pub struct Cuda(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    info: DeviceInfo,
    context: Arc<Context>,
    timer: CallTimer,
    transfers: Transfers,
    kernels: Kernels,
    products: Products,
    /// What waits for the end of a recording, while calls are recorded.
    recording: Mutex<Option<Deferred>>,
}

impl Cuda {
    /// Opens the GPU of this number, counted as the driver counts (see `CUDA_VISIBLE_DEVICES`).
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) with what is missing: a GPU, a driver that is new enough, a GPU on which the
    /// kernels run, or cuBLASLt.
    pub fn open(ordinal: usize) -> Result<Self> {
        let (device, info) = info::device(ordinal)?;
        let driver = load::driver()?;
        let blas = load::blas(driver.cuda)?;
        let context = Context::open(&driver.functions, device)?;
        let transfers = Transfers::new(&context)?;
        let major = info.limits.compute_capability[0];
        let products = Products::new(&context, &transfers.memory, &blas.functions, major)?;
        Ok(Cuda(Arc::new(Inner {
            info,
            timer: CallTimer::new(&context),
            transfers,
            kernels: Kernels::new(&context),
            products,
            context,
            recording: Mutex::default(),
        })))
    }

    /// Describes the GPU.
    pub fn info(&self) -> DeviceInfo {
        self.0.info.clone()
    }

    /// Says whether the device times every launch, product and transfer outside a recording from now on.
    pub fn time_calls(&self, on: bool) {
        self.0.timer.turn(on);
    }

    /// Waits for the calls that were timed since the last call of this, and returns their times. The key is the entry of a
    /// kernel, `gemm m n k` with the types of the product, or `upload`, `download`, `send`, `receive`, `copy` or `zero`.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn take_times(&self) -> Result<BTreeMap<String, CallTimes>> {
        self.0.timer.take()
    }

    /// Waits for what `work` launches, and returns the seconds that the device took for it.
    ///
    /// # Errors
    /// A failure of `work` or of the device, or that calls are being recorded.
    pub fn timed(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        self.idle("timing")?;
        self.0.timer.time(work)
    }

    /// Whether calls are being recorded.
    fn recording(&self) -> bool {
        self.0.recording.lock().unwrap().is_some()
    }

    /// Refuses what cannot be recorded.
    fn idle(&self, what: &str) -> Result<()> {
        if self.recording() { Err(failed(format!("{what} while calls are recorded"))) } else { Ok(()) }
    }

    /// Waits for what was just launched, when that was asked for, so that it is blamed for its own failures only.
    fn settle<D: Display>(&self, launched: impl FnOnce() -> D) -> Result<()> {
        let context = &self.0.context;
        if context.waits && !self.recording() {
            context.synchronize(context.compute, launched)
        } else {
            Ok(())
        }
    }

    /// Makes a call, timed when that was asked for.
    fn call<T, K: Into<String>>(
        &self,
        key: impl FnOnce() -> K,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if self.0.timer.is_on() && !self.recording() { self.0.timer.keep(key().into(), call) } else { call() }
    }
}

/// The device may still use what is dropped with this.
impl Drop for Inner {
    fn drop(&mut self) {
        for stream in [self.context.compute, self.context.copy] {
            let _ = self.context.synchronize(stream, || "closing the device");
        }
    }
}

impl Launcher for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn info(&self) -> Option<String> {
        Some(self.0.info.to_string())
    }

    fn limits(&self) -> Limits {
        self.0.info.limits
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        let memory = &self.0.transfers.memory;
        if self.recording() { memory.alloc_at_once(bytes) } else { memory.alloc(bytes) }
    }

    fn free(&self, region: Region) {
        match &mut *self.0.recording.lock().unwrap() {
            Some(deferred) => deferred.freed.push(region),
            None => self.0.transfers.free(region),
        }
    }

    /// `None` while calls are recorded.
    fn memory(&self) -> Option<[usize; 2]> {
        self.idle("memory").ok()?;
        self.0.transfers.memory.info()
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        let transfers = &self.0.transfers;
        if let Some(deferred) = &mut *self.0.recording.lock().unwrap() {
            let mut pinned = transfers.pinned.take(bytes.len())?;
            pinned.bytes()?.copy_from_slice(bytes);
            pinned.upload(to, self.0.context.compute)?;
            deferred.uploads.push(pinned);
            return Ok(());
        }
        self.call(|| "upload", || transfers.memory.upload(to, bytes))
    }

    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        self.idle("download")?;
        self.call(|| "download", || self.0.transfers.memory.download(from, bytes))
    }

    fn send(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.idle("send")?;
        self.call(|| "send", || self.0.transfers.send(to, bytes))
    }

    fn receive(&self, from: Region) -> Result<Box<dyn Pending>> {
        self.idle("receive")?;
        self.call(|| "receive", || self.0.transfers.receive(from))
    }

    fn copy(&self, to: Region, from: Region) -> Result<()> {
        self.call(|| "copy", || self.0.transfers.memory.copy(to, from))
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.call(|| "zero", || self.0.transfers.memory.zero(region))
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        self.call(|| kernel.entry, || self.0.kernels.launch(kernel, grid, args))?;
        self.settle(|| LaunchText(kernel, grid))
    }

    fn gemm(&self, gemm: &BlasGemm) -> Result<()> {
        self.call(|| Products::name(gemm), || self.0.products.gemm(gemm))?;
        self.settle(|| Products::name(gemm))
    }

    fn record(&self) -> Result<()> {
        self.idle("record")?;
        record::begin(&self.0.context)?;
        *self.0.recording.lock().unwrap() = Some(Deferred::default());
        Ok(())
    }

    fn recorded(&self) -> Result<Box<dyn Replay>> {
        let deferred = self.0.recording.lock().unwrap().take();
        let Deferred { uploads, freed } = deferred.ok_or_else(|| failed("nothing is being recorded"))?;
        let recorded = record::end(&self.0.context, uploads, &self.0.transfers.pinned);
        freed.into_iter().for_each(|region| self.0.transfers.free(region));
        Ok(Box::new(recorded?))
    }
}
