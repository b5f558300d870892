//! Bytes that travel beside what runs.
//!
//! To the device they go in two steps: by the copy stream into memory that no kernel knows, then by the compute
//! stream, between what was launched before and after, to where they are wanted. So the slow way over the bus
//! waits for no kernel, and no kernel sees bytes change under it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};

use super::context::Context;
use super::event::Event;
use super::memory::{Memory, Pinned, PinnedPool};
use crate::Result;
use crate::launch::{Pending, Region};

/// The way to one destination.
#[derive(Debug)]
struct Lane {
    pinned: Pinned,
    landing: Region,
    /// Comes after the bytes have left `landing`.
    taken: Event,
}

#[derive(Debug)]
pub(super) struct Transfers {
    context: Arc<Context>,
    pub memory: Memory,
    pub pinned: Arc<PinnedPool>,
    /// By destination; made when it is first sent to, given up when it is freed.
    lanes: Mutex<HashMap<u64, Lane>>,
}

impl Transfers {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        Ok(Transfers {
            context: context.clone(),
            memory: Memory::new(context)?,
            pinned: Arc::new(PinnedPool::new(context)),
            lanes: Mutex::default(),
        })
    }

    pub(super) fn send(&self, to: Region, bytes: &[u8]) -> Result<()> {
        assert_eq!(to.bytes, bytes.len());
        let (compute, copy) = (self.context.compute, self.context.copy);
        let mut lanes = self.lanes.lock().unwrap();
        let lane = self.lane(&mut lanes, to)?;
        lane.pinned.bytes()?.copy_from_slice(bytes);
        lane.taken.hold(copy)?;
        lane.pinned.upload(lane.landing, copy)?;
        lane.pinned.done.record(copy)?;
        lane.pinned.done.hold(compute)?;
        self.memory.copy(to, lane.landing)?;
        lane.taken.record(compute)
    }

    fn lane<'a>(&self, lanes: &'a mut HashMap<u64, Lane>, to: Region) -> Result<&'a mut Lane> {
        if lanes.get(&to.at).is_some_and(|lane| lane.landing.bytes != to.bytes) {
            self.close(lanes.remove(&to.at));
        }
        match lanes.entry(to.at) {
            Entry::Occupied(lane) => Ok(lane.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Lane {
                pinned: self.pinned.take(to.bytes)?,
                taken: Event::new(&self.context)?,
                landing: self.memory.alloc_at_once(to.bytes)?,
            })),
        }
    }

    /// The compute stream has taken from `landing` what came by the copy stream: there it can be freed.
    fn close(&self, lane: Option<Lane>) {
        if let Some(lane) = lane {
            self.memory.free(lane.landing);
            self.pinned.give_back(lane.pinned);
        }
    }

    pub(super) fn receive(&self, from: Region) -> Result<Box<dyn Pending>> {
        let pinned = self.pinned.take(from.bytes)?;
        pinned.download(from, self.context.compute)?;
        pinned.done.record(self.context.compute)?;
        Ok(Box::new(Coming { pinned: Some(pinned), pool: self.pinned.clone() }))
    }

    /// Frees memory, and the lane that leads there.
    pub(super) fn free(&self, region: Region) {
        self.close(self.lanes.lock().unwrap().remove(&region.at));
        self.memory.free(region);
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        let lanes = std::mem::take(self.lanes.get_mut().unwrap());
        lanes.into_values().for_each(|lane| self.close(Some(lane)));
    }
}

/// Bytes on their way to pinned memory.
#[derive(Debug)]
struct Coming {
    /// `None` only while it is dropped.
    pinned: Option<Pinned>,
    pool: Arc<PinnedPool>,
}

impl Pending for Coming {
    fn wait(mut self: Box<Self>) -> Result<Vec<u8>> {
        let pinned = self.pinned.as_mut().expect("present until drop");
        Ok(pinned.bytes()?.to_vec())
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.pinned.take().into_iter().for_each(|pinned| self.pool.give_back(pinned));
    }
}
