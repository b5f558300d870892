//! Memory of the device: which allocations exist in stream order, and how much there is.

use std::collections::BTreeMap;

use ptx_emulator::{Machine, Options};

use crate::config::Config;
use crate::status::{Answer, Status};
use crate::stream::Fault;

/// State in stream order: an allocation exists between its making and its freeing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Coming,
    There,
    Freed,
}

#[derive(Debug)]
struct Allocation {
    bytes: usize,
    state: State,
    /// Whether it was made in stream order.
    pooled: bool,
    /// Whether a free of it is enqueued.
    leaving: bool,
}

#[derive(Debug)]
pub struct Memory {
    pub machine: Machine,
    /// Allocations by their addresses, none of which is used twice.
    allocations: BTreeMap<u64, Allocation>,
    total: usize,
    /// Bytes allocated by `cuMemAlloc`.
    direct: usize,
    /// Bytes of the pool that callers hold, as the callers see it and as the streams see it.
    held: usize,
    held_by_streams: usize,
    /// Bytes that the pool has reserved, and those it keeps when somebody waits.
    reserved: usize,
    keeps: usize,
}

impl Memory {
    pub fn new(config: &Config) -> Self {
        let options = Options {
            checks: config.checks,
            max_shared: config.card.shared_per_block as u32,
            ..Options::default()
        };
        Memory {
            machine: Machine::with(options),
            allocations: BTreeMap::new(),
            total: config.memory,
            direct: 0,
            held: 0,
            held_by_streams: 0,
            reserved: 0,
            keeps: 0,
        }
    }

    /// Allocates memory that exists when its stream comes to it.
    pub fn alloc_in_order(&mut self, bytes: usize) -> Answer<u64> {
        let fits = self.held.checked_add(bytes).is_some_and(|held| held <= self.total - self.direct);
        if bytes == 0 || !fits {
            return Err(if bytes == 0 { Status::INVALID_VALUE } else { Status::OUT_OF_MEMORY });
        }
        self.held += bytes;
        self.held_by_streams += bytes;
        self.reserved = self.reserved.max(self.held);
        Ok(self.insert(bytes, State::Coming, true))
    }

    /// Allocates memory that exists at once.
    pub fn alloc(&mut self, bytes: usize) -> Answer<u64> {
        if bytes == 0 || bytes > self.total - self.direct - self.reserved {
            return Err(if bytes == 0 { Status::INVALID_VALUE } else { Status::OUT_OF_MEMORY });
        }
        self.direct += bytes;
        Ok(self.insert(bytes, State::There, false))
    }

    fn insert(&mut self, bytes: usize, state: State, pooled: bool) -> u64 {
        let at = self.machine.alloc(bytes);
        self.allocations.insert(at, Allocation { bytes, state, pooled, leaving: false });
        at
    }

    /// Announces a free in stream order.
    pub fn leaves(&mut self, at: u64) -> Answer {
        let allocation = self.allocations.get_mut(&at).filter(|a| a.pooled && !a.leaving);
        let allocation = allocation.ok_or(Status::INVALID_VALUE)?;
        allocation.leaving = true;
        self.held -= allocation.bytes;
        Ok(())
    }

    /// Frees at once, whatever work is enqueued.
    pub fn free(&mut self, at: u64) -> Answer {
        let allocation = self.allocations.get(&at).filter(|a| !a.leaving).ok_or(Status::INVALID_VALUE)?;
        match allocation.pooled {
            true => self.leaves(at)?,
            false => self.direct -= allocation.bytes,
        }
        self.gone(at);
        Ok(())
    }

    /// Notes that the stream has reached the allocation.
    pub fn comes(&mut self, at: u64) {
        let allocation = self.allocations.get_mut(&at).expect("made by `alloc_in_order`");
        // An allocation that another stream freed, or that was freed at once, stays freed.
        if allocation.state == State::Coming {
            allocation.state = State::There;
        }
    }

    /// Notes that the stream has reached the free.
    pub fn gone(&mut self, at: u64) {
        let allocation = self.allocations.get_mut(&at).expect("named by `leaves` or `free`");
        allocation.state = State::Freed;
        allocation.leaving = true;
        if allocation.pooled {
            self.held_by_streams -= allocation.bytes;
        }
        self.machine.free(at);
    }

    /// Sets the bytes of unheld memory that the pool keeps when somebody waits for a stream.
    pub fn set_keeps(&mut self, bytes: usize) {
        self.keeps = bytes;
    }

    /// Gives unheld memory of the pool beyond `keep` bytes back to the device.
    pub fn trim(&mut self, keep: usize) {
        self.reserved = self.reserved.min(self.held_by_streams.max(keep));
    }

    pub fn waited(&mut self) {
        self.trim(self.keeps);
    }

    /// Free bytes and all bytes.
    pub fn info(&self) -> [usize; 2] {
        [self.total - self.direct - self.reserved, self.total]
    }

    /// Number of allocations that were not freed.
    pub fn live(&self) -> usize {
        self.allocations.values().filter(|a| a.state != State::Freed).count()
    }

    fn find(&self, at: u64) -> Option<(u64, &Allocation)> {
        let (&start, allocation) = self.allocations.range(..=at).next_back()?;
        (at - start < allocation.bytes as u64).then_some((start, allocation))
    }

    /// Whether a range lies in an allocation, freed or not, which is what the driver sees at a call.
    pub fn names(&self, at: u64, bytes: usize) -> Answer {
        let inside = |(start, a): (u64, &Allocation)| bytes as u64 <= a.bytes as u64 - (at - start);
        if self.find(at).is_some_and(inside) { Ok(()) } else { Err(Status::INVALID_VALUE) }
    }

    /// The allocation that an address lies in, with its size; `None` where there is none.
    pub fn around(&self, at: u64) -> Result<Option<(u64, usize)>, Fault> {
        let Some((start, allocation)) = self.find(at) else { return Ok(None) };
        let what = match allocation.state {
            State::There => return Ok(Some((start, allocation.bytes))),
            State::Coming => "its stream has not made yet",
            State::Freed => "was freed",
        };
        Err(format!("{at:#x} lies in memory that {what} ({} bytes at {start:#x})", allocation.bytes))
    }

    /// Checks that work may use a range now.
    fn there(&self, at: u64, bytes: usize) -> Result<(), Fault> {
        match self.around(at)? {
            Some((start, size)) if bytes as u64 <= size as u64 - (at - start) => Ok(()),
            Some((start, size)) => Err(format!("{bytes} bytes at byte {} of {size}", at - start)),
            None => Err(format!("{at:#x} lies in no memory")),
        }
    }

    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.there(at, bytes.len())?;
        self.machine.read(at, bytes).map_err(|fault| fault.to_string())
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.there(at, bytes.len())?;
        self.machine.write(at, bytes).map_err(|fault| fault.to_string())
    }
}
