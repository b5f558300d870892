//! Recordings: what is put into the compute stream while it captures becomes a graph of the driver.

use std::sync::Arc;

use cu::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
use cudarc::driver::sys as cu;

use super::context::{Context, Handle};
use super::event::Event;
use super::memory::{Pinned, PinnedPool};
use super::report::About;
use crate::Result;
use crate::launch::{Region, Replay};

/// What has to wait for the end of a recording.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// The bytes that uploads bring at each replay.
    pub uploads: Vec<Pinned>,
    /// Memory that was given up. To free it at once would become a part of the recording.
    pub freed: Vec<Region>,
}

/// Lets the compute stream record. Other threads and streams may go on (`RELAXED`), because memory is made meanwhile.
pub(super) fn begin(context: &Context) -> Result<()> {
    // SAFETY: it is a stream of this context.
    unsafe { context.enter()?.cuStreamBeginCapture_v2(context.compute.0, CU_STREAM_CAPTURE_MODE_RELAXED) }
        .about(|| "starting a recording")
}

/// A graph of the driver.
#[derive(Debug)]
struct Graph {
    context: Arc<Context>,
    graph: Handle<cu::CUgraph_st>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(driver) = self.context.enter()
            && !self.graph.0.is_null()
        {
            // SAFETY: `end` made the graph.
            let _ = unsafe { driver.cuGraphDestroy(self.graph.0) };
        }
    }
}

/// Ends a recording. From here on the stream runs what it is told, also when this fails.
pub(super) fn end(
    context: &Arc<Context>,
    uploads: Vec<Pinned>,
    pinned: &Arc<PinnedPool>,
) -> Result<Recorded> {
    let driver = context.enter()?;
    let mut graph = Graph { context: context.clone(), graph: Handle::default() };
    // SAFETY: the call writes the graph that the stream recorded.
    unsafe { driver.cuStreamEndCapture(context.compute.0, &mut graph.graph.0) }
        .about(|| "ending a recording")?;
    let ran = Event::new(context)?;
    let mut exec = Handle::default();
    // SAFETY: the call writes the handle by which the graph is run.
    unsafe { driver.cuGraphInstantiateWithFlags(&mut exec.0, graph.graph.0, 0) }
        .about(|| "making a recording")?;
    Ok(Recorded { context: context.clone(), exec, ran, uploads, pinned: pinned.clone() })
}

/// Calls that were recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    context: Arc<Context>,
    exec: Handle<cu::CUgraphExec_st>,
    /// The mark after the last run.
    ran: Event,
    uploads: Vec<Pinned>,
    pinned: Arc<PinnedPool>,
}

impl Replay for Recorded {
    fn run(&self) -> Result<()> {
        // SAFETY: the graph was instantiated in this context, and `self` keeps the bytes that it uploads.
        unsafe { self.context.enter()?.cuGraphLaunch(self.exec.0, self.context.compute.0) }
            .about(|| "a recording")?;
        self.ran.record(self.context.compute)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let Ok(driver) = self.context.enter() else { return };
        // SAFETY: `end` instantiated the graph; the driver lets a run that is on its way finish.
        let _ = unsafe { driver.cuGraphExecDestroy(self.exec.0) };
        if !self.uploads.is_empty() {
            let _ = self.ran.wait("a recording");
            self.uploads.drain(..).for_each(|upload| self.pinned.give_back(upload));
        }
    }
}
