//! Releases and acquires: how fences, atomics and strong accesses order threads.
//!
//! A fence notes what its thread has done and knows: that is what the thread releases with each strong store or atomic
//! after the fence. What it releases is published at the address. A strong load or atomic of the address sees it, and a
//! later fence of that thread acquires what it has seen. A `.release` is a fence before its access, an `.acquire` one
//! after it. What is published at an address stays there and adds up: times tell what belongs to which release. What a
//! thread knows and has seen goes on to others through barriers.
//!
//! Of a thread that the releaser knows through a barrier, all is released that came before a fence of that thread itself,
//! too: `__threadfence(); __syncthreads(); if (threadIdx.x == 0) atomicAdd(...)`. A strong access may come after what its
//! thread has seen without a fence, as hardware keeps it behind the branch or barrier that waited for the flag.
//!
//! Accesses and fences of block scope order threads of one block only; what other blocks published they do not see.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::isa::Scope;
use crate::known::Known;

/// The most memory of what is published in global memory, in units of 16 bytes. What is published beyond that is seen at
/// every address, so that a race may be missed but none is made up.
const MOST_GLOBAL: u64 = 1 << 24;
/// The same for the threads of a block, for each of them: as many blocks may be there at once as have 65,536 threads.
const MOST_OF_THREAD: u64 = 1 << 8;
/// What a small block may take all the same.
const LEAST_OF_BLOCK: u64 = 1 << 14;

/// What is published, by address.
#[derive(Debug)]
struct Table {
    at: HashMap<u64, Known>,
    beyond: Known,
    /// The memory that `at` takes, and the most that it may, in units of 16 bytes.
    weight: u64,
    most: u64,
}

impl Table {
    fn new(most: u64) -> Self {
        Self { at: HashMap::new(), beyond: Known::default(), weight: 0, most }
    }

    fn publish(&mut self, at: u64, what: &Known) {
        if self.weight >= self.most {
            return self.beyond.add(what);
        }
        let here = self.at.entry(at).or_default();
        let before = here.weight();
        here.add(what);
        self.weight = (self.weight + here.weight()).saturating_sub(before);
    }

    fn see(&self, at: u64, known: &mut Known) {
        known.add(&self.beyond);
        if let Some(here) = self.at.get(&at) {
            known.add(here);
        }
    }
}

/// What the threads of a launch published in global memory.
#[derive(Debug)]
pub(crate) struct Published {
    /// Anything was published.
    any: AtomicBool,
    table: Mutex<Table>,
}

impl Default for Published {
    fn default() -> Self {
        Self { any: AtomicBool::new(false), table: Mutex::new(Table::new(MOST_GLOBAL)) }
    }
}

impl Published {
    /// Whether anything was published.
    pub fn any(&self) -> bool {
        self.any.load(SeqCst)
    }

    /// Publishes to all blocks.
    pub fn publish(&self, at: u64, what: &Known) {
        self.any.store(true, SeqCst);
        self.table().publish(at, what);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The position of a scope in pairs of what is kept for both.
fn index(scope: Scope) -> usize {
    match scope {
        Scope::Block => 0,
        Scope::Device => 1,
    }
}

/// What a thread knows by releases and acquires.
#[derive(Debug, Clone, Default)]
struct Thread {
    acquired: Known,
    /// What it has seen and would acquire with a fence, for each scope of the fence.
    seen: [Known; 2],
}

impl Thread {
    fn add(&mut self, other: &Thread) {
        self.acquired.add(&other.acquired);
        (0..2).for_each(|s| self.seen[s].add(&other.seen[s]));
    }
}

/// The last fence of a thread for a scope.
#[derive(Debug, Clone, Default)]
struct Fence {
    time: u32,
    /// What the thread knew then of its block by barriers, and of all blocks by acquires.
    block: Known,
    acquired: Known,
}

/// What the threads of a block released and acquired.
#[derive(Debug)]
pub(crate) struct Releases {
    threads: Vec<Thread>,
    /// What each thread knows beside its own.
    all: Thread,
    /// The last fences of each thread, for each scope.
    fences: Vec<[Fence; 2]>,
    /// What threads of the block published for each other.
    table: Table,
}

impl Releases {
    pub fn new(threads: u32) -> Self {
        Self {
            threads: vec![Thread::default(); threads as usize],
            all: Thread::default(),
            fences: vec![Default::default(); threads as usize],
            table: Table::new((MOST_OF_THREAD * u64::from(threads)).max(LEAST_OF_BLOCK)),
        }
    }

    /// Whether thread `to` knows what a thread of any block did at `time`.
    pub fn knows(&self, block: u32, from: u32, time: u32, to: u32, strong: bool) -> bool {
        [&self.all, &self.threads[to as usize]].into_iter().any(|t| {
            let seen = || t.seen.iter().any(|k| time <= k.time(block, from));
            time <= t.acquired.time(block, from) || strong && seen()
        })
    }

    /// Passes a barrier of all threads.
    pub fn meet_all(&mut self) {
        for thread in &mut self.threads {
            self.all.add(&std::mem::take(thread));
        }
    }

    /// Passes a barrier of some threads.
    pub fn meet(&mut self, members: impl Iterator<Item = usize> + Clone) {
        let mut sum = Thread::default();
        members.clone().for_each(|t| sum.add(&self.threads[t]));
        members.for_each(|t| self.threads[t] = sum.clone());
    }

    /// Publishes to the threads of the block.
    pub fn publish(&mut self, at: u64, what: &Known) {
        self.table.publish(at, what);
    }

    /// Lets a thread see what is published at an address, in global memory to all blocks, too.
    pub fn see(&mut self, thread: u32, at: u64, published: Option<&Published>) {
        let [near, far] = &mut self.threads[thread as usize].seen;
        self.table.see(at, near);
        if let Some(published) = published {
            published.table().see(at, far);
        }
    }

    /// Adds what a thread has acquired.
    pub fn add_acquired(&self, thread: u32, known: &mut Known) {
        known.add(&self.all.acquired);
        known.add(&self.threads[thread as usize].acquired);
    }

    /// Lets a thread know what others have acquired.
    pub fn learn(&mut self, thread: u32, known: &Known) {
        self.threads[thread as usize].acquired.add(known);
    }

    /// Notes a fence of a thread, which knows `block` of its block by barriers.
    pub fn note_fence(&mut self, thread: u32, scope: Scope, time: u32, block: &Known) {
        let mut acquired = self.all.acquired.clone();
        acquired.add(&self.threads[thread as usize].acquired);
        for s in 0..=index(scope) {
            let fence = Fence { time, block: block.clone(), acquired: acquired.clone() };
            self.fences[thread as usize][s] = fence;
        }
    }

    /// When a thread last executed a fence of this scope, and what it knew then.
    pub fn fence(&self, thread: u32, scope: Scope) -> (u32, Known) {
        let fence = &self.fences[thread as usize][index(scope)];
        let mut known = fence.acquired.clone();
        known.add(&fence.block);
        (fence.time, known)
    }

    /// The time of a thread's last fence of this scope.
    pub fn fenced(&self, thread: u32, scope: Scope) -> u32 {
        self.fences[thread as usize][index(scope)].time
    }

    /// Acquires what a thread has seen.
    pub fn acquire(&mut self, thread: u32, scope: Scope) {
        let own = &mut self.threads[thread as usize];
        for s in 0..=index(scope) {
            own.acquired.add(&self.all.seen[s]);
            own.acquired.add(&own.seen[s]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known::Row;

    /// Every block publishes at every address.
    #[test]
    fn what_is_published_takes_bounded_memory_and_is_all_seen() {
        let mut table = Table::new(20_000);
        for at in 0..200u64 {
            for block in 0..100 {
                table.publish(8 * at, &Known::of(block, Row::new(4, |_| block + 1)));
            }
        }
        let held: u64 = table.at.values().map(Known::weight).sum();
        assert!(held == table.weight && (20_000..20_100).contains(&held), "{held} {}", table.weight);
        for at in 0..200u64 {
            let mut known = Known::default();
            table.see(8 * at, &mut known);
            (0..100).for_each(|block| assert!(known.time(block, 3) > block));
        }
        // Before the limit, an address shows only what was published there.
        let mut table = Table::new(20_000);
        table.publish(8, &Known::of(1, Row::new(4, |_| 5)));
        let mut known = Known::default();
        table.see(16, &mut known);
        assert!(known.is_empty());
    }
}
