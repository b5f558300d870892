//! What the warps of a block share while it runs.

use crate::clock::Clock;
use crate::divergence::Behind;
use crate::shared::SharedMemory;
use crate::tally::Tally;

/// The number of barriers that a block has.
pub(crate) const BARRIERS: usize = 16;

/// What the warps of a block share.
#[derive(Debug)]
pub(crate) struct BlockState {
    /// The number of the block in the grid.
    pub index: u32,
    /// The coordinates of the block in the grid.
    pub ctaid: [u32; 3],
    pub shared: SharedMemory,
    pub clock: Clock,
    /// Counts of the worker, over all its blocks.
    pub tally: Tally,
    /// For each barrier, the number of threads that passed its `bar.arrive`.
    pub arrived: [u32; BARRIERS],
    /// For each barrier, a bit for each warp that has such threads.
    pub arrived_warps: [u32; BARRIERS],
    /// What the block has printed.
    pub printed: Vec<u8>,
    /// The instructions that all warps executed in this block.
    pub executed: u64,
    /// What is known of instructions behind barriers.
    pub behind: Behind,
}
