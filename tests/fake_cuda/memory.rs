//! Memory of the device: which allocations exist in stream order, and how much there is.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ptx_emulator::{Machine, Options};

use crate::config::Config;
use crate::order::{Known, Place};
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
    /// The work that made it, the last that wrote to it, and what has read from it since.
    made: Known,
    written: Known,
    read: Known,
}

#[derive(Debug)]
pub struct Memory {
    pub machine: Machine,
    /// Allocations by their addresses, none of which is used twice.
    allocations: BTreeMap<u64, Allocation>,
    total: usize,
    /// Bytes allocated by `cuMemAlloc`.
    direct: usize,
    /// Bytes of the pool that callers hold.
    held: usize,
    /// Allocations of the pool whose frees have not run yet, with the place of the free. Only work that comes after that
    /// place can have their bytes.
    leaving: BTreeMap<u64, Place>,
    /// The allocations that the running work uses, and whether it writes to them.
    used: RefCell<BTreeMap<u64, bool>>,
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
            leaving: BTreeMap::new(),
            used: RefCell::default(),
            reserved: 0,
            keeps: 0,
        }
    }

    /// Allocates memory that exists when its stream comes to it; `known` is done before that.
    pub fn alloc_in_order(&mut self, bytes: usize, known: &Known) -> Answer<u64> {
        let taken = self.held + self.leaving(|place| !known.has(place));
        let fits = taken.checked_add(bytes).is_some_and(|taken| taken <= self.total - self.direct);
        if bytes == 0 || !fits {
            return Err(if bytes == 0 { Status::INVALID_VALUE } else { Status::OUT_OF_MEMORY });
        }
        self.held += bytes;
        self.reserved = self.reserved.max(taken + bytes);
        Ok(self.insert(bytes, State::Coming, true))
    }

    /// The bytes of the allocations with such a free that has not run yet.
    fn leaving(&self, such: impl Fn(Place) -> bool) -> usize {
        self.leaving.iter().filter(|(_, place)| such(**place)).map(|(at, _)| self.allocations[at].bytes).sum()
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
        let [made, written, read] = [const { Known::new() }; 3];
        self.allocations.insert(at, Allocation { bytes, state, pooled, leaving: false, made, written, read });
        at
    }

    /// Announces a free in stream order.
    pub fn leaves(&mut self, at: u64, place: Place) -> Answer {
        let allocation = self.allocations.get_mut(&at).filter(|a| a.pooled && !a.leaving);
        let allocation = allocation.ok_or(Status::INVALID_VALUE)?;
        allocation.leaving = true;
        self.held -= allocation.bytes;
        self.leaving.insert(at, place);
        Ok(())
    }

    /// Frees at once, whatever work is enqueued.
    pub fn free(&mut self, at: u64) -> Answer {
        let allocation = self.allocations.get(&at).filter(|a| !a.leaving).ok_or(Status::INVALID_VALUE)?;
        match allocation.pooled {
            true => self.held -= allocation.bytes,
            false => self.direct -= allocation.bytes,
        }
        self.gone(at);
        Ok(())
    }

    /// Notes that the stream has reached the allocation.
    pub fn comes(&mut self, at: u64, place: Place) {
        let allocation = self.allocations.get_mut(&at).expect("made by `alloc_in_order`");
        // An allocation that another stream freed, or that was freed at once, stays freed.
        if allocation.state == State::Coming {
            allocation.state = State::There;
        }
        allocation.made.add(place);
    }

    /// Notes that the stream has reached the free, before which `known` is done.
    pub fn freed(&mut self, at: u64, place: Place, known: &Known) -> Result<(), Fault> {
        let Allocation { bytes, made, written, read, .. } = &self.allocations[&at];
        let other = [made, written, read].into_iter().find_map(|uses| known.misses(uses));
        let unordered = other.map(|other| {
            let stream = place.stream;
            format!(
                "stream {stream:#x} frees {bytes} bytes at {at:#x} and does not wait for stream {other:#x}"
            )
        });
        self.gone(at);
        unordered.map_or(Ok(()), Err)
    }

    fn gone(&mut self, at: u64) {
        let allocation = self.allocations.get_mut(&at).expect("named by `leaves` or `free`");
        allocation.state = State::Freed;
        allocation.leaving = true;
        self.leaving.remove(&at);
        self.machine.free(at);
    }

    /// Checks that what the work used was left alone by all that may run beside it, and notes that the work used it. The
    /// host has no place.
    pub fn order(&mut self, place: Option<Place>, known: &Known) -> Result<(), Fault> {
        for (at, writes) in std::mem::take(self.used.get_mut()) {
            let Allocation { bytes, made, written, read, .. } =
                self.allocations.get_mut(&at).expect("was found when it was used");
            let reads = Some(&*read).filter(|_| writes);
            if let Some(other) =
                [&*made, written].into_iter().chain(reads).find_map(|uses| known.misses(uses))
            {
                let who = place.map_or("the host".into(), |place| format!("stream {:#x}", place.stream));
                return Err(format!(
                    "{who} uses {bytes} bytes at {at:#x} and does not wait for stream {other:#x}"
                ));
            }
            if writes {
                (*written, *read) = (Known::new(), Known::new());
            }
            place.into_iter().for_each(|place| if writes { written.add(place) } else { read.add(place) });
        }
        Ok(())
    }

    /// Sets the bytes of unheld memory that the pool keeps when somebody waits for a stream.
    pub fn set_keeps(&mut self, bytes: usize) {
        self.keeps = bytes;
    }

    /// Gives unheld memory of the pool beyond `keep` bytes back to the device.
    pub fn trim(&mut self, keep: usize) {
        self.reserved = self.reserved.min((self.held + self.leaving(|_| true)).max(keep));
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

    /// The allocation that an address lies in, with its size, for a kernel that may do anything with it; `None` where
    /// there is none.
    pub fn around(&self, at: u64) -> Result<Option<(u64, usize)>, Fault> {
        self.using(at, true)
    }

    /// The allocation that an address lies in, with its size; the running work uses it.
    fn using(&self, at: u64, writes: bool) -> Result<Option<(u64, usize)>, Fault> {
        let Some((start, allocation)) = self.find(at) else { return Ok(None) };
        let what = match allocation.state {
            State::There => {
                *self.used.borrow_mut().entry(start).or_default() |= writes;
                return Ok(Some((start, allocation.bytes)));
            }
            State::Coming => "its stream has not made yet",
            State::Freed => "was freed",
        };
        Err(format!("{at:#x} lies in memory that {what} ({} bytes at {start:#x})", allocation.bytes))
    }

    /// Checks that work may use a range now.
    fn there(&self, at: u64, bytes: usize, writes: bool) -> Result<(), Fault> {
        match self.using(at, writes)? {
            Some((start, size)) if bytes as u64 <= size as u64 - (at - start) => Ok(()),
            Some((start, size)) => Err(format!("{bytes} bytes at byte {} of {size}", at - start)),
            None => Err(format!("{at:#x} lies in no memory")),
        }
    }

    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.there(at, bytes.len(), false)?;
        self.machine.read(at, bytes).map_err(|fault| fault.to_string())
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.there(at, bytes.len(), true)?;
        self.machine.write(at, bytes).map_err(|fault| fault.to_string())
    }
}
