//! Events: marks in a stream that others wait for, and that tell the time.

use std::collections::BTreeMap;
use std::ffi::c_uint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cudarc::driver::sys as cu;

use super::context::{Context, Handle};
use super::error::About;
use crate::Result;

/// A mark in a stream. One that was never put into a stream is passed.
#[derive(Debug)]
pub(super) struct Event {
    context: Arc<Context>,
    event: Handle<cu::CUevent_st>,
}

impl Event {
    /// An event for waiting.
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        Self::with(context, cu::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// An event that also tells the time.
    fn timing(context: &Arc<Context>) -> Result<Self> {
        Self::with(context, cu::CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn with(context: &Arc<Context>, flags: cu::CUevent_flags) -> Result<Self> {
        let mut event = Handle::default();
        // SAFETY: writes one handle.
        unsafe { context.enter()?.cuEventCreate(&mut event.0, flags as c_uint) }.about(|| "an event")?;
        Ok(Event { context: context.clone(), event })
    }

    /// Puts the mark after what is in the stream.
    pub(super) fn record(&self, stream: Handle<cu::CUstream_st>) -> Result<()> {
        // SAFETY: event and stream are of this context.
        unsafe { self.context.enter()?.cuEventRecord(self.event.0, stream.0) }.about(|| "marking a stream")
    }

    /// What comes into the stream next waits for the mark.
    pub(super) fn hold(&self, stream: Handle<cu::CUstream_st>) -> Result<()> {
        // SAFETY: event and stream are of this context.
        unsafe { self.context.enter()?.cuStreamWaitEvent(stream.0, self.event.0, 0) }
            .about(|| "a stream that waits")
    }

    /// Waits for the mark; `what` is waited for.
    pub(super) fn wait(&self, what: &str) -> Result<()> {
        // SAFETY: an event of this context.
        unsafe { self.context.enter()?.cuEventSynchronize(self.event.0) }.about(|| what)
    }

    /// Seconds from an earlier mark; both have been passed.
    fn since(&self, start: &Event) -> Result<f64> {
        let mut milliseconds = 0.0;
        // SAFETY: writes one number; both events tell the time.
        unsafe { self.context.enter()?.cuEventElapsedTime(&mut milliseconds, start.event.0, self.event.0) }
            .about(|| "reading the time")?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(driver) = self.context.enter() {
            // SAFETY: made by `with`; the driver keeps what a stream still needs.
            let _ = unsafe { driver.cuEventDestroy_v2(self.event.0) };
        }
    }
}

/// How often something was called, and how long the device took in all.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct CallTimes {
    pub calls: usize,
    pub seconds: f64,
}

/// Times calls on the compute stream.
#[derive(Debug)]
pub(super) struct Clock {
    context: Arc<Context>,
    on: AtomicBool,
    taken: Mutex<Vec<(String, [Event; 2])>>,
}

impl Clock {
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Clock { context: context.clone(), on: AtomicBool::new(false), taken: Mutex::default() }
    }

    pub(super) fn turn(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Puts a mark before and after what `work` launches.
    fn bracket<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, [Event; 2])> {
        let marks = [Event::timing(&self.context)?, Event::timing(&self.context)?];
        marks[0].record(self.context.compute)?;
        let done = work()?;
        marks[1].record(self.context.compute)?;
        Ok((done, marks))
    }

    /// Keeps the time of a call under a key.
    pub(super) fn keep<T>(&self, key: String, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (done, marks) = self.bracket(work)?;
        self.taken.lock().unwrap().push((key, marks));
        Ok(done)
    }

    /// Waits for the calls that were kept, and adds up their times.
    pub(super) fn take(&self) -> Result<BTreeMap<String, CallTimes>> {
        let mut sums = BTreeMap::<_, CallTimes>::new();
        for (key, [start, end]) in std::mem::take(&mut *self.taken.lock().unwrap()) {
            end.wait(&key)?;
            let seconds = end.since(&start)?;
            let sum = sums.entry(key).or_default();
            sum.calls += 1;
            sum.seconds += seconds;
        }
        Ok(sums)
    }

    /// Seconds that the device takes for what `work` launches.
    pub(super) fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let ((), [start, end]) = self.bracket(work)?;
        end.wait("timed calls")?;
        end.since(&start)
    }
}
