//! Streams and events: work that is kept until somebody waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crate::capture::Capture;
use crate::context::Context;
use crate::cupti::traced;
use crate::gemm::Product;
use crate::kernel::Launch;
use crate::order::{Known, Place, Schedule};
use crate::pinned::ordinary;
use crate::status::{Answer, Status};

/// Description of what went wrong when work ran.
pub type Fault = String;

/// What a piece of work does. Addresses of the host's memory are numbers, which are checked when the work runs.
#[derive(Debug, Clone)]
pub enum Op {
    Record(Arc<Mark>),
    Wait(Arc<Mark>),
    Make(u64),
    Free(u64),
    Upload { to: u64, from: usize, bytes: usize },
    UploadPinned { to: u64, from: usize, bytes: usize },
    DownloadPinned { to: usize, from: u64, bytes: usize },
    Copy { to: u64, from: u64, bytes: usize },
    Fill { to: u64, value: u8, bytes: usize },
    Launch(Arc<Launch>),
    Product(Arc<Product>),
    Graph(Arc<[Op]>),
}

/// A place in a stream, what is done when the stream has passed it, and when it did.
#[derive(Debug)]
pub struct Mark {
    stream: usize,
    known: Known,
    passed: OnceLock<Instant>,
}

/// A piece of work in a stream, and what is done before it.
#[derive(Debug)]
struct Work {
    op: Op,
    place: Place,
    known: Known,
}

#[derive(Debug, Default)]
pub struct Stream {
    queue: VecDeque<Work>,
    /// What is done before the next piece of work.
    known: Known,
    pub capture: Option<Capture>,
}

#[derive(Debug)]
pub struct Event {
    timing: bool,
    last: Last,
}

/// The place where an event was recorded last.
#[derive(Debug, Clone)]
enum Last {
    Nowhere,
    Stream(Arc<Mark>),
    /// In the capture of this stream, which may have ended.
    Capture(usize),
}

impl Context {
    pub fn make_stream(&mut self) -> usize {
        let stream = self.handle();
        self.streams.insert(stream, Stream::default());
        stream
    }

    /// Runs the work in the stream and ends it.
    pub fn end_stream(&mut self, stream: usize) -> Answer {
        if self.stream(stream)?.capture.is_some() {
            return Err(self.spoil(stream, Status::STREAM_CAPTURE_UNSUPPORTED));
        }
        self.finish(stream)?;
        self.streams.remove(&stream);
        Ok(())
    }

    pub fn stream(&mut self, stream: usize) -> Answer<&mut Stream> {
        self.streams.get_mut(&stream).ok_or(Status::INVALID_HANDLE)
    }

    /// The place of the next piece of work in a stream, and what is done when it is.
    pub fn next(&mut self, stream: usize) -> Answer<(Place, Known)> {
        let mut known = self.stream(stream)?.known.clone();
        let place = Place { stream, number: known.last(stream) + 1 };
        known.join(&self.host);
        known.add(place);
        Ok((place, known))
    }

    /// Puts work into a stream, or into its capture.
    pub fn enqueue(&mut self, stream: usize, op: Op) -> Answer {
        let (place, known) = self.next(stream)?;
        let found = self.stream(stream)?;
        if let Some(capture) = &mut found.capture {
            return capture.keep(op);
        }
        found.known = known.clone();
        if let Op::Wait(mark) = &op {
            found.known.join(&mark.known);
        }
        found.queue.push_back(Work { op, place, known });
        self.advance(stream)
    }

    /// Runs what the schedule lets run now that work has come into a stream.
    fn advance(&mut self, stream: usize) -> Answer {
        match self.schedule {
            Schedule::Late => return Ok(()),
            Schedule::Early => return self.finish(stream),
            Schedule::Drawn(_) => {}
        }
        if self.schedule.draw(2) == 0 {
            return Ok(());
        }
        let busy = self.streams.iter().filter(|(_, stream)| !stream.queue.is_empty());
        let busy: Vec<usize> = busy.map(|(&stream, _)| stream).collect();
        let drawn = self.schedule.draw(busy.len());
        self.step(busy[drawn])
    }

    pub fn synchronize(&mut self, stream: usize) -> Answer {
        if self.stream(stream)?.capture.is_some() {
            return Err(self.spoil(stream, Status::STREAM_CAPTURE_UNSUPPORTED));
        }
        self.finish(stream)?;
        self.host.join(&self.streams[&stream].known);
        self.memory.waited();
        Ok(())
    }

    fn finish(&mut self, stream: usize) -> Answer {
        while self.streams.get(&stream).is_some_and(|s| !s.queue.is_empty()) {
            self.step(stream)?;
        }
        Ok(())
    }

    pub fn finish_all(&mut self) -> Answer {
        self.whole()?;
        let streams: Vec<_> = self.streams.keys().copied().collect();
        streams.into_iter().try_for_each(|stream| self.finish(stream))
    }

    /// Runs the first piece of work of a stream, or of the stream that it waits for.
    fn step(&mut self, mut stream: usize) -> Answer {
        let work = loop {
            let queue = &mut self.streams.get_mut(&stream).expect("ends when its work is done").queue;
            match &queue.front().expect("a mark that was not passed is still in its stream").op {
                Op::Wait(mark) if mark.passed.get().is_none() => stream = mark.stream,
                _ => break queue.pop_front().expect("the front"),
            }
        };
        let done = self.run(&work.op, &work).and_then(|()| self.memory.order(Some(work.place), &work.known));
        done.map_err(|fault| self.break_with(Status::ILLEGAL_ADDRESS, fault))
    }

    fn run(&mut self, op: &Op, work: &Work) -> Result<(), Fault> {
        match op {
            Op::Record(mark) => drop(mark.passed.set(Instant::now())),
            Op::Wait(_) => {}
            Op::Make(at) => self.memory.comes(*at, work.place),
            Op::Free(at) => self.memory.freed(*at, work.place, &work.known)?,
            Op::Upload { to, from, bytes } => self.memory.write(*to, &ordinary(*from, *bytes)?)?,
            Op::UploadPinned { to, from, bytes } => {
                self.memory.write(*to, &self.pinned.read(*from, *bytes)?)?;
            }
            Op::DownloadPinned { to, from, bytes } => {
                let mut copy = vec![0; *bytes];
                self.memory.read(*from, &mut copy)?;
                self.pinned.write(*to, &copy)?;
            }
            Op::Copy { to, from, bytes } => {
                let mut copy = vec![0; *bytes];
                self.memory.read(*from, &mut copy)?;
                self.memory.write(*to, &copy)?;
            }
            Op::Fill { to, value, bytes } => self.memory.write(*to, &vec![*value; *bytes])?,
            Op::Launch(launch) => traced(launch.name(), || launch.run(&self.memory))?,
            Op::Product(product) => traced("fake_gemm", || product.run(&self.memory))?,
            Op::Graph(ops) => ops.iter().try_for_each(|op| self.run(op, work))?,
        }
        Ok(())
    }

    /// Drops the work of all streams.
    pub fn forget_work(&mut self) {
        self.streams.values_mut().for_each(|stream| stream.queue.clear());
    }

    pub fn make_event(&mut self, timing: bool) -> usize {
        let event = self.handle();
        self.events.insert(event, Event { timing, last: Last::Nowhere });
        event
    }

    fn event(&mut self, event: usize) -> Answer<&mut Event> {
        self.events.get_mut(&event).ok_or(Status::INVALID_HANDLE)
    }

    pub fn record(&mut self, event: usize, stream: usize) -> Answer {
        self.event(event)?;
        let last = if self.stream(stream)?.capture.is_some() {
            Last::Capture(stream)
        } else {
            let (_, known) = self.next(stream)?;
            let mark = Arc::new(Mark { stream, known, passed: OnceLock::new() });
            self.enqueue(stream, Op::Record(mark.clone()))?;
            Last::Stream(mark)
        };
        self.event(event)?.last = last;
        Ok(())
    }

    /// Makes later work in `stream` wait for the event.
    pub fn wait_event(&mut self, stream: usize, event: usize) -> Answer {
        let last = self.event(event)?.last.clone();
        let captures = self.stream(stream)?.capture.is_some();
        match last {
            Last::Capture(origin) if captures && origin == stream => Ok(()),
            Last::Capture(origin) => match self.streams.get(&origin).is_some_and(|s| s.capture.is_some()) {
                true => Err(self.spoil(origin, Status::STREAM_CAPTURE_UNSUPPORTED)),
                false => Err(Status::CAPTURED_EVENT),
            },
            _ if captures => Err(self.spoil(stream, Status::STREAM_CAPTURE_ISOLATION)),
            Last::Nowhere => Ok(()),
            Last::Stream(mark) => self.enqueue(stream, Op::Wait(mark)),
        }
    }

    /// The mark of an event, if it may be waited for.
    fn mark(&mut self, event: usize) -> Answer<Option<Arc<Mark>>> {
        match self.event(event)?.last.clone() {
            Last::Nowhere => Ok(None),
            Last::Stream(mark) => Ok(Some(mark)),
            Last::Capture(origin) => Err(self.spoil(origin, Status::CAPTURED_EVENT)),
        }
    }

    pub fn synchronize_event(&mut self, event: usize) -> Answer {
        let Some(mark) = self.mark(event)? else { return Ok(()) };
        while mark.passed.get().is_none() {
            self.step(mark.stream)?;
        }
        self.host.join(&mark.known);
        Ok(())
    }

    /// Runs one piece of the work that the event waits for.
    pub fn query_event(&mut self, event: usize) -> Answer {
        match self.mark(event)? {
            Some(mark) if mark.passed.get().is_none() => {
                self.step(mark.stream)?;
                Err(Status::NOT_READY)
            }
            mark => {
                mark.iter().for_each(|mark| self.host.join(&mark.known));
                Ok(())
            }
        }
    }

    /// Milliseconds between two events.
    pub fn elapsed(&mut self, start: usize, end: usize) -> Answer<f32> {
        let mut passed = |event| {
            let mark = if self.event(event)?.timing { self.mark(event)? } else { None };
            let mark = mark.ok_or(Status::INVALID_HANDLE)?;
            mark.passed.get().copied().ok_or(Status::NOT_READY)
        };
        let (start, end) = (passed(start)?, passed(end)?);
        Ok(end.saturating_duration_since(start).as_secs_f32() * 1e3)
    }
}
