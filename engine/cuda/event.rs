//! Events: marks in a stream that others wait for and that tell the time.

use std::collections::BTreeMap;
use std::ffi::c_uint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cudarc::driver::sys as cu;

use super::context::{Context, Handle};
use super::report::About;
use crate::Result;

/// A mark in a stream. A mark that was never put into a stream counts as passed.
#[derive(Debug)]
pub(super) struct Event {
    context: Arc<Context>,
    event: Handle<cu::CUevent_st>,
}

impl Event {
    /// Makes an event to wait for.
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        Self::with(context, cu::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// Makes an event that also tells the time.
    fn timing(context: &Arc<Context>) -> Result<Self> {
        Self::with(context, cu::CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn with(context: &Arc<Context>, flags: cu::CUevent_flags) -> Result<Self> {
        let mut event = Handle::default();
        // SAFETY: the call writes one handle.
        unsafe { context.enter()?.cuEventCreate(&mut event.0, flags as c_uint) }.about(|| "an event")?;
        Ok(Event { context: context.clone(), event })
    }

    /// Puts the mark after everything that is in the stream.
    pub(super) fn record(&self, stream: Handle<cu::CUstream_st>) -> Result<()> {
        // SAFETY: event and stream are of this context.
        unsafe { self.context.enter()?.cuEventRecord(self.event.0, stream.0) }.about(|| "marking a stream")
    }

    /// Lets what comes into the stream next wait for the mark.
    pub(super) fn hold(&self, stream: Handle<cu::CUstream_st>) -> Result<()> {
        // SAFETY: event and stream are of this context.
        unsafe { self.context.enter()?.cuStreamWaitEvent(stream.0, self.event.0, 0) }
            .about(|| "a stream that waits")
    }

    /// Waits until the mark is passed. `what` says what is waited for.
    pub(super) fn wait(&self, what: &str) -> Result<()> {
        // SAFETY: it is an event of this context.
        unsafe { self.context.enter()?.cuEventSynchronize(self.event.0) }.about(|| what)
    }

    /// The seconds since an earlier mark, when both have been passed.
    fn since(&self, start: &Event) -> Result<f64> {
        let mut milliseconds = 0.0;
        // SAFETY: the call writes one number, and both events tell the time.
        unsafe { self.context.enter()?.cuEventElapsedTime(&mut milliseconds, start.event.0, self.event.0) }
            .about(|| "reading the time")?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(driver) = self.context.enter() {
            // SAFETY: `with` made the event; the driver keeps what a stream still needs of it.
            let _ = unsafe { driver.cuEventDestroy_v2(self.event.0) };
        }
    }
}

/// How often something was called, and how long the device took for it.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct CallTimes {
    /// The number of calls.
    pub calls: usize,
    /// The seconds that all of them took together.
    pub seconds: f64,
}

/// A call that was timed.
#[derive(Debug)]
struct TimedCall {
    key: String,
    start: Event,
    end: Event,
}

/// Times calls on the compute stream.
#[derive(Debug)]
pub(super) struct CallTimer {
    context: Arc<Context>,
    on: AtomicBool,
    taken: Mutex<Vec<TimedCall>>,
}

impl CallTimer {
    /// Makes a timer that is off.
    pub(super) fn new(context: &Arc<Context>) -> Self {
        CallTimer { context: context.clone(), on: AtomicBool::new(false), taken: Mutex::default() }
    }

    /// Turns the timer on or off.
    pub(super) fn turn(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Whether calls are to be timed.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Puts a mark before and after what `work` launches.
    fn bracket<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, [Event; 2])> {
        let [start, end] = [Event::timing(&self.context)?, Event::timing(&self.context)?];
        start.record(self.context.compute)?;
        let done = work()?;
        end.record(self.context.compute)?;
        Ok((done, [start, end]))
    }

    /// Makes a call, and keeps its time under a key.
    pub(super) fn keep<T>(&self, key: String, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (done, [start, end]) = self.bracket(work)?;
        self.taken.lock().unwrap().push(TimedCall { key, start, end });
        Ok(done)
    }

    /// Waits for the calls that were kept, and adds up their times by key.
    pub(super) fn take(&self) -> Result<BTreeMap<String, CallTimes>> {
        let mut sums = BTreeMap::<_, CallTimes>::new();
        for TimedCall { key, start, end } in std::mem::take(&mut *self.taken.lock().unwrap()) {
            end.wait(&key)?;
            let seconds = end.since(&start)?;
            let sum = sums.entry(key).or_default();
            sum.calls += 1;
            sum.seconds += seconds;
        }
        Ok(sums)
    }

    /// The seconds that the device takes for what `work` launches.
    pub(super) fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let ((), [start, end]) = self.bracket(work)?;
        end.wait("timed calls")?;
        end.since(&start)
    }
}
