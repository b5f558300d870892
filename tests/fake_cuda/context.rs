//! A context: memory, streams, modules, graphs, and whether it is broken.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::kernel::{Function, Module};
use crate::memory::Memory;
use crate::pinned::Pinned;
use crate::status::{Answer, Status};
use crate::stream::{Event, Fault, Op, Stream};

/// What a handle stands for is found in its map; no number is given twice in a context.
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
    /// For the log.
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
            faults: vec![],
            broken: None,
            handles: 0,
        }
    }

    /// A number that stands for nothing yet.
    pub fn handle(&mut self) -> usize {
        self.handles += 1;
        self.handles << 4
    }

    /// Nothing works from here on. Returns what the first fault broke it with.
    pub fn break_with(&mut self, status: Status, fault: Fault) -> Status {
        self.faults.push(fault);
        self.forget_work();
        *self.broken.get_or_insert(status)
    }

    /// That it is not broken.
    pub fn whole(&self) -> Answer {
        self.broken.map_or(Ok(()), Err)
    }

    /// What is still there.
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
