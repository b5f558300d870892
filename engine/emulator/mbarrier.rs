//! The barriers that lie in shared memory (`mbarrier`), and the bulk copies that report to them.
//!
//! A barrier counts arrivals and bytes that are still to come; when both are there, its phase ends and the next begins. Its
//! 64 bits in shared memory are opaque: what it counts is kept here, and its bytes count as never written, so that other
//! accesses to them are found.

use std::collections::BTreeMap;

use crate::clock::Knowledge;

/// The most arrivals, and the most bytes, that a barrier can count.
pub(crate) const MOST_COUNT: u32 = (1 << 20) - 1;

/// One barrier.
#[derive(Debug)]
pub(crate) struct Mbarrier {
    /// The arrivals of a phase.
    pub expected: u32,
    /// The arrivals that are missing in this phase.
    pub pending: u32,
    /// The bytes that are missing in this phase; fewer than none if some came before they were expected.
    pub bytes: i64,
    /// The number of phases that have ended.
    pub phase: u32,
    /// What those know who arrived in this phase or before (see [`Clock::knowledge`](crate::clock::Clock::knowledge)).
    pub arrived: Knowledge,
    /// The same at the end of the last phase: what those learn who wait for it.
    pub passed: Knowledge,
}

impl Mbarrier {
    pub fn new(expected: u32) -> Self {
        Self {
            expected,
            pending: expected,
            bytes: 0,
            phase: 0,
            arrived: Knowledge::default(),
            passed: Knowledge::default(),
        }
    }

    /// The state of this phase, as `mbarrier.arrive` returns it.
    pub fn token(&self) -> u64 {
        u64::from(self.phase) << 32 | u64::from(self.pending)
    }

    /// Joins what an arriving thread knows.
    pub fn learn(&mut self, known: &Knowledge) {
        self.arrived.add(known);
    }

    /// Begins the next phase if nothing is missing.
    pub fn advance(&mut self) {
        if self.pending == 0 && self.bytes == 0 {
            self.phase = self.phase.wrapping_add(1);
            self.pending = self.expected;
            self.passed = self.arrived.clone();
        }
    }
}

/// The number of arrivals in the state that [`Mbarrier::token`] made, and that of its phase.
pub(crate) fn token_parts(token: u64) -> (u32, u32) {
    (token as u32, (token >> 32) as u32)
}

/// Bytes on their way to shared memory.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The offset in shared memory of the barrier that they report to.
    pub barrier: u32,
    /// Where they go: words and their offset in shared memory.
    pub to: u32,
    pub words: Vec<u32>,
    /// What the thread knew that started the copy.
    pub known: Knowledge,
}

/// The barriers of a block, by their offsets in shared memory, and the copies under way.
#[derive(Debug, Default)]
pub(crate) struct Mbarriers {
    pub all: BTreeMap<u32, Mbarrier>,
    pub arrivals: Vec<Arrival>,
    pub cluster: ClusterBarrier,
}

/// The barrier of a cluster of one block (`barrier.cluster`), by lanes of each warp.
#[derive(Debug, Default)]
pub(crate) struct ClusterBarrier {
    /// The lanes that have not left the kernel.
    pub live: Vec<u32>,
    /// The lanes that have arrived in this phase.
    pub arrived: Vec<u32>,
    /// The lanes that have arrived in the phase before, and have not waited.
    pub passed: Vec<u32>,
}

impl ClusterBarrier {
    /// Begins a block.
    pub fn start(&mut self, lanes: Vec<u32>) {
        self.arrived = vec![0; lanes.len()];
        self.passed = vec![0; lanes.len()];
        self.live = lanes;
    }

    /// Ends the phase if all who can still come have arrived.
    pub fn advance(&mut self) -> bool {
        let whole = self.live.iter().zip(&self.arrived).all(|(live, arrived)| live & !arrived == 0);
        if whole {
            self.passed.iter_mut().zip(&mut self.arrived).for_each(|(p, a)| *p |= std::mem::take(a));
        }
        whole
    }
}
