//! A context: memory, streams, modules, graphs, and whether it is broken.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::launch::Limits;

use crate::config::Config;
use crate::kernel::{Function, Module};
use crate::memory::Memory;
use crate::pinned::Pinned;
use crate::status::{Answer, Status};
use crate::stream::{Event, Fault, Op, Stream};

/// A context. Its maps hold what each handle stands for, and no handle is given twice.
#[derive(Debug)]
pub struct Context {
    pub id: usize,
    pub memory: Memory,
    pub pinned: Pinned,
    pub streams: BTreeMap<usize, Stream>,
    pub events: BTreeMap<usize, Event>,
    pub modules: BTreeMap<usize, Arc<Module>>,
    pub functions: BTreeMap<usize, Function>,
    pub graphs: BTreeMap<usize, Arc<[Op]>>,
    pub execs: BTreeMap<usize, Arc<[Op]>>,
    /// Newest CUDA that the driver knows.
    pub version: i32,
    /// What the card has.
    pub card: Limits,
    /// Faults that the log has yet to record.
    pub faults: Vec<Fault>,
    broken: Option<Status>,
    handles: usize,
}

impl Context {
    pub fn new(id: usize, config: &Config) -> Self {
        Context {
            id,
            memory: Memory::new(config),
            pinned: Pinned::default(),
            streams: BTreeMap::new(),
            events: BTreeMap::new(),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            graphs: BTreeMap::new(),
            execs: BTreeMap::new(),
            version: config.version,
            card: config.card,
            faults: vec![],
            broken: None,
            handles: 0,
        }
    }

    /// Returns a handle that is not in use.
    pub fn handle(&mut self) -> usize {
        self.handles += 1;
        self.handles << 4
    }

    /// Breaks the context, so that nothing works from here on. Returns the status of the first fault.
    pub fn break_with(&mut self, status: Status, fault: Fault) -> Status {
        self.faults.push(fault);
        self.forget_work();
        *self.broken.get_or_insert(status)
    }

    /// Checks that the context is not broken.
    pub fn whole(&self) -> Answer {
        self.broken.map_or(Ok(()), Err)
    }

    /// Describes what has not been freed.
    pub fn left(&self) -> String {
        let [allocations, pinned] = [self.memory.live(), self.pinned.live()];
        let [streams, events, modules] = [self.streams.len(), self.events.len(), self.modules.len()];
        let [graphs, execs] = [self.graphs.len(), self.execs.len()];
        format!(
            "{allocations} allocations, {pinned} pinned, {streams} streams, {events} events, {modules} modules, \
             {graphs} graphs, {execs} executable graphs"
        )
    }
}
