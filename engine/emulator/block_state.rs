//! What the warps of a block share while it runs.

use crate::clock::{Clock, Knowledge};
use crate::divergence::Behind;
use crate::mbarrier::Mbarriers;
use crate::shared::SharedMemory;
use crate::tally::Tally;

/// The number of barriers that a block has.
pub(crate) const BARRIERS: usize = 16;

/// The threads that arrived at a barrier and do not wait there.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    pub threads: u32,
    /// What they knew when they arrived. What they did later is not ordered by the barrier.
    pub known: Knowledge,
}

/// What the warps of a block share.
#[derive(Debug)]
pub(crate) struct BlockState {
    /// The number of the block in the grid.
    pub index: u32,
    /// The coordinates of the block in the grid.
    pub ctaid: [u32; 3],
    pub shared: SharedMemory,
    pub mbarriers: Mbarriers,
    pub clock: Clock,
    /// Counts of the worker, over all its blocks.
    pub tally: Tally,
    /// For each barrier, the threads that passed its `bar.arrive`.
    pub arrivals: [Arrivals; BARRIERS],
    /// What the block has printed.
    pub printed: Vec<u8>,
    /// The instructions that all warps executed in this block.
    pub executed: u64,
    /// What is known of instructions behind barriers.
    pub behind: Behind,
}
