//! Fences, and what strong accesses and atomics release and acquire.

use crate::exec::Exec;
use crate::isa::{MemoryOrder, Scope};
use crate::lanes::{Lanes, set_lanes};
use crate::program::SHARED_WINDOW;
use crate::types::Space;

impl Exec<'_, '_> {
    /// Executes a fence.
    #[cold]
    #[inline(never)]
    pub(crate) fn fence(&mut self, order: MemoryOrder, active: u32) {
        if !self.env.checks.races() {
            return;
        }
        if order.acquires() {
            for lane in set_lanes(active) {
                let thread = self.thread(lane);
                self.state.clock.releases().acquire(thread, order.scope);
            }
        }
        if order.releases() {
            self.end_turn_soon();
            self.state.clock.note_fence(self.warp.index, active, order.scope);
            self.state.clock.advance();
        }
    }

    /// The number of a lane's thread in its block.
    fn thread(&self, lane: u32) -> u32 {
        32 * self.warp.index + lane
    }

    /// Whether strong accesses have anything to see or to publish.
    fn synchronises(&self, order: MemoryOrder) -> bool {
        self.env.checks.races()
            && (order.acquires()
                || order.releases()
                || self.state.clock.releases.is_some()
                || self.env.published.any())
    }

    /// Comes before a strong store or an atomic of the lanes of `active`: notes what a `.release` releases.
    pub(crate) fn before_release(&mut self, order: MemoryOrder, active: u32) {
        if order.releases() && self.env.checks.races() {
            self.end_turn_soon();
            self.state.clock.note_fence(self.warp.index, active, order.scope);
        }
    }

    /// Comes after it: what the threads do from now on is not released.
    pub(crate) fn after_release(&mut self, order: MemoryOrder) {
        if order.releases() && self.env.checks.races() {
            self.state.clock.advance();
        }
    }

    /// Publishes at the address of a strong store or an atomic, before others can see that.
    #[inline(never)]
    pub(crate) fn publish(&mut self, lane: u32, at: u64, order: MemoryOrder, space: Space) {
        if !self.synchronises(order) {
            return;
        }
        let thread = self.thread(lane);
        let clock = &mut self.state.clock;
        let near = clock.released(thread, Scope::Block);
        if !near.is_empty() {
            clock.releases().publish(generic(at, space), &near);
        }
        if space == Space::Global && order.scope == Scope::Device {
            let far = clock.released(thread, Scope::Device);
            if !far.is_empty() {
                self.env.published.publish(at, &far);
            }
        }
    }

    /// Sees what is published at the address of a strong load or an atomic, after that has read.
    #[inline(never)]
    pub(crate) fn see(&mut self, lane: u32, at: u64, order: MemoryOrder, space: Space) {
        if !self.synchronises(order) {
            return;
        }
        let thread = self.thread(lane);
        let published = &self.env.published;
        let far = space == Space::Global && order.scope == Scope::Device && published.any();
        let releases = self.state.clock.releases();
        releases.see(thread, generic(at, space), far.then_some(published));
        if order.acquires() {
            releases.acquire(thread, order.scope);
        }
    }

    /// Does what has to come before a strong store.
    #[cold]
    #[inline(never)]
    pub(crate) fn before_strong_store(
        &mut self,
        order: MemoryOrder,
        at: &Lanes<u64>,
        active: u32,
        space: Space,
    ) {
        self.before_release(order, active);
        set_lanes(active).for_each(|lane| self.publish(lane, at[lane as usize], order, space));
    }

    /// Does what has to come after a strong load.
    #[cold]
    #[inline(never)]
    pub(crate) fn after_strong_load(
        &mut self,
        order: MemoryOrder,
        at: &Lanes<u64>,
        active: u32,
        space: Space,
    ) {
        self.poll();
        set_lanes(active).for_each(|lane| self.see(lane, at[lane as usize], order, space));
    }
}

/// The generic address of an address in a space.
fn generic(at: u64, space: Space) -> u64 {
    if space == Space::Shared { at + SHARED_WINDOW } else { at }
}
