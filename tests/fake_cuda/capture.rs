//! Captures: work that a stream keeps instead of running it, and the graphs made from it.

use std::sync::Arc;
use std::thread::{self, ThreadId};

use crate::context::Context;
use crate::status::{Answer, Status};
use crate::stream::Op;

/// The threads that may not make potentially unsafe calls during a capture: all, the capturing one, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

#[derive(Debug)]
pub struct Capture {
    mode: Mode,
    thread: ThreadId,
    ops: Vec<Op>,
    spoiled: bool,
}

impl Capture {
    pub fn keep(&mut self, op: Op) -> Answer {
        if self.spoiled {
            return Err(Status::STREAM_CAPTURE_INVALIDATED);
        }
        self.ops.push(op);
        Ok(())
    }
}

impl Context {
    pub fn begin_capture(&mut self, stream: usize, mode: u32) -> Answer {
        let modes = [Mode::Global, Mode::ThreadLocal, Mode::Relaxed];
        let mode = *modes.get(mode as usize).ok_or(Status::INVALID_VALUE)?;
        let stream = self.stream(stream)?;
        if stream.capture.is_some() {
            return Err(Status::ILLEGAL_STATE);
        }
        let thread = thread::current().id();
        stream.capture = Some(Capture { mode, thread, ops: vec![], spoiled: false });
        Ok(())
    }

    /// Ends a capture and returns its graph.
    pub fn end_capture(&mut self, stream: usize) -> Answer<usize> {
        let stream = self.stream(stream)?;
        let capture = stream.capture.as_ref().ok_or(Status::ILLEGAL_STATE)?;
        if capture.mode != Mode::Relaxed && capture.thread != thread::current().id() {
            return Err(Status::STREAM_CAPTURE_WRONG_THREAD);
        }
        let capture = stream.capture.take().expect("looked at above");
        if capture.spoiled {
            return Err(Status::STREAM_CAPTURE_INVALIDATED);
        }
        let graph = self.handle();
        self.graphs.insert(graph, capture.ops.into());
        Ok(graph)
    }

    /// The `CUstreamCaptureStatus` of a stream.
    pub fn capture_status(&mut self, stream: usize) -> Answer<u32> {
        Ok(match &self.stream(stream)?.capture {
            None => 0,
            Some(capture) if !capture.spoiled => 1,
            Some(_) => 2,
        })
    }

    /// Makes the capture of a stream invalid, if it has one; returns the reason.
    pub fn spoil(&mut self, stream: usize, why: Status) -> Status {
        let capture = self.streams.get_mut(&stream).and_then(|s| s.capture.as_mut());
        capture.into_iter().for_each(|capture| capture.spoiled = true);
        why
    }

    /// Checks that a stream does not capture, for calls that cannot be captured.
    pub fn not_captured(&mut self, stream: usize) -> Answer {
        match self.stream(stream)?.capture {
            None => Ok(()),
            Some(_) => Err(self.spoil(stream, Status::STREAM_CAPTURE_UNSUPPORTED)),
        }
    }

    /// Checks that no capture forbids this thread what CUDA calls potentially unsafe.
    pub fn unsafe_call(&mut self) -> Answer {
        let here = thread::current().id();
        let mut forbidden = false;
        for capture in self.streams.values_mut().filter_map(|stream| stream.capture.as_mut()) {
            let forbids = match capture.mode {
                Mode::Global => true,
                Mode::ThreadLocal => capture.thread == here,
                Mode::Relaxed => false,
            };
            capture.spoiled |= forbids;
            forbidden |= forbids;
        }
        if forbidden { Err(Status::STREAM_CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }

    pub fn instantiate(&mut self, graph: usize) -> Answer<usize> {
        let ops: Arc<[Op]> = self.graphs.get(&graph).ok_or(Status::INVALID_HANDLE)?.clone();
        let exec = self.handle();
        self.execs.insert(exec, ops);
        Ok(exec)
    }

    pub fn launch_graph(&mut self, exec: usize, stream: usize) -> Answer {
        let ops = self.execs.get(&exec).ok_or(Status::INVALID_HANDLE)?.clone();
        self.not_captured(stream)?;
        self.enqueue(stream, Op::Graph(ops))
    }
}
