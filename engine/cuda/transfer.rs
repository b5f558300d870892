//! Bytes that travel beside what runs.
//!
//! They reach the device in two steps: the copy stream brings them to memory that no kernel knows, then the compute stream
//! copies them to their destination, between what was launched before and after. So the slow way over the bus waits for no
//! kernel, and no kernel sees bytes change under it.
//!
//! Bytes of the caller go through pinned memory, because the driver may read other memory after the call.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::context::Context;
use super::event::Event;
use super::memory::{Memory, Pinned, PinnedPool};
use crate::Result;
use crate::launch::{Pending, Region};

/// The way to one destination.
#[derive(Debug)]
struct Route {
    /// Where the bytes start on the host.
    pinned: Pinned,
    /// Where they arrive on the device, before they are copied to the destination.
    landing: Region,
    /// The mark after the bytes have left `landing`, or after it was made.
    taken: Event,
}

/// Transfers between the host and one device.
#[derive(Debug)]
pub(super) struct Transfers {
    context: Arc<Context>,
    pub memory: Memory,
    pub pinned: Arc<PinnedPool>,
    /// By the address of the destination. A route is made when a destination is first sent to, and given up when the
    /// destination is freed.
    routes: Mutex<HashMap<u64, Route>>,
    /// Up to [`STAGES`] pieces of pinned memory of [`STAGE`] bytes for uploads, those that were used longest ago first.
    stages: Mutex<VecDeque<Pinned>>,
}

/// The bytes of an upload that travel together.
const STAGE: usize = 1 << 20;
/// The number of them that may be on their way.
const STAGES: usize = 8;

impl Transfers {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        Ok(Transfers {
            context: context.clone(),
            memory: Memory::new(context)?,
            pinned: Arc::new(PinnedPool::new(context)),
            routes: Mutex::default(),
            stages: Mutex::default(),
        })
    }

    /// Copies bytes to the device in the order of the compute stream. They may change when this returns.
    pub(super) fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        assert_eq!(to.bytes, bytes.len());
        let compute = self.context.compute;
        let mut stages = self.stages.lock().unwrap();
        for (i, part) in bytes.chunks(STAGE).enumerate() {
            let stage = if stages.len() < STAGES { None } else { stages.pop_front() };
            let mut stage = stage.map_or_else(|| Pinned::new(&self.context, STAGE), Ok)?;
            stage.bytes()?[..part.len()].copy_from_slice(part);
            stage.upload(Region { bytes: part.len(), ..to.skip(i * STAGE) }, compute)?;
            stage.done.record(compute)?;
            stages.push_back(stage);
        }
        Ok(())
    }

    /// Starts to send bytes to a destination.
    pub(super) fn send(&self, to: Region, bytes: &[u8]) -> Result<()> {
        assert_eq!(to.bytes, bytes.len());
        let (compute, copy) = (self.context.compute, self.context.copy);
        let mut routes = self.routes.lock().unwrap();
        let route = self.route(&mut routes, to)?;
        route.pinned.bytes()?.copy_from_slice(bytes);
        route.taken.hold(copy)?;
        route.pinned.upload(route.landing, copy)?;
        route.pinned.done.record(copy)?;
        route.pinned.done.hold(compute)?;
        self.memory.copy(to, route.landing)?;
        route.taken.record(compute)
    }

    /// The route to a destination, which is made where there is none of its size.
    fn route<'a>(&self, routes: &'a mut HashMap<u64, Route>, to: Region) -> Result<&'a mut Route> {
        if routes.get(&to.at).is_some_and(|route| route.landing.bytes != to.bytes) {
            self.close(routes.remove(&to.at));
        }
        match routes.entry(to.at) {
            Entry::Occupied(route) => Ok(route.into_mut()),
            Entry::Vacant(entry) => {
                let (pinned, taken) = (self.pinned.take(to.bytes)?, Event::new(&self.context)?);
                let landing = self.memory.alloc(to.bytes)?;
                // The memory is there for the copy stream from here on.
                taken.record(self.context.compute)?;
                Ok(entry.insert(Route { pinned, landing, taken }))
            }
        }
    }

    /// Gives up a route. Memory is freed in the order of the compute stream, which has taken the bytes from `landing` by
    /// then.
    fn close(&self, route: Option<Route>) {
        if let Some(route) = route {
            self.memory.free(route.landing);
            self.pinned.give_back(route.pinned);
        }
    }

    /// Starts to receive bytes.
    pub(super) fn receive(&self, from: Region) -> Result<Box<dyn Pending>> {
        let pinned = self.pinned.take(from.bytes)?;
        pinned.download(from, self.context.compute)?;
        pinned.done.record(self.context.compute)?;
        Ok(Box::new(Coming { pinned: Some(pinned), pool: self.pinned.clone() }))
    }

    /// Frees memory, and the route that leads there.
    pub(super) fn free(&self, region: Region) {
        self.close(self.routes.lock().unwrap().remove(&region.at));
        self.memory.free(region);
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        let routes = std::mem::take(self.routes.get_mut().unwrap());
        routes.into_values().for_each(|route| self.close(Some(route)));
    }
}

/// Bytes on their way to pinned memory.
#[derive(Debug)]
struct Coming {
    /// `None` only while this is dropped.
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
