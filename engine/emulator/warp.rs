//! A warp: its registers, its local memory, and where each of its lanes is.

use crate::float::Lanes;
use crate::isa::AsyncCopy;
use crate::program::Program;
use crate::registers::Registers;

/// What lanes at one instruction wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Ready,
    /// Other lanes of the warp, at a shuffle, vote or warp barrier.
    Lanes,
    /// Other threads of the block, at barrier `id` of `count` threads (0: all).
    Block {
        id: u32,
        count: u32,
    },
}

/// Lanes at the same instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub pc: u32,
    pub mask: u32,
    pub wait: Wait,
}

/// A `cp.async` that has not arrived.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub copy: AsyncCopy,
    pub to: Lanes<u32>,
    pub from: Lanes<u64>,
    pub source_bytes: Lanes<u32>,
    /// Lanes for which it is still under way, and the commit group of each.
    pub mask: u32,
    pub group: Lanes<u32>,
}

#[derive(Debug)]
pub(crate) struct Warp {
    pub index: u32,
    pub registers: Registers,
    pub groups: Vec<Group>,
    /// Lanes that exist, and those that have not exited.
    pub lanes: u32,
    pub live: u32,
    /// Local memory: words by lane, and for each byte of a word the lanes that wrote it.
    pub local: Vec<Lanes<u32>>,
    pub local_written: Vec<[u32; 4]>,
    pub flights: Vec<Flight>,
    /// Commit groups each lane has closed.
    pub committed: Lanes<u32>,
    /// Instructions executed in this block, and how many of them its total has.
    pub executed: u64,
    pub reported: u64,
}

impl Warp {
    pub fn new(index: u32, program: &Program) -> Self {
        let words = if program.local.is_empty() { 0 } else { program.local_bytes.div_ceil(4) as usize };
        Self {
            index,
            registers: Registers::new(program),
            groups: Vec::new(),
            lanes: 0,
            live: 0,
            local: vec![[u32::MAX; 32]; words],
            local_written: vec![[0; 4]; words],
            flights: Vec::new(),
            committed: [0; 32],
            executed: 0,
            reported: 0,
        }
    }

    /// At the start of a block, with the lanes that exist.
    pub fn start(&mut self, lanes: u32) {
        self.registers.reset();
        self.groups.clear();
        self.groups.push(Group { pc: 0, mask: lanes, wait: Wait::Ready });
        self.lanes = lanes;
        self.live = lanes;
        self.local_written.fill([0; 4]);
        self.flights.clear();
        self.committed = [0; 32];
        self.executed = 0;
        self.reported = 0;
    }

    pub fn ready(&self) -> bool {
        self.groups.iter().any(|g| g.wait == Wait::Ready)
    }

    /// Takes out the ready group with the lowest counter, joined by all others at that counter, and says where the
    /// next group waits: the taken one must come back when it gets there.
    pub fn take(&mut self) -> Option<(Group, u32)> {
        let pc = self.groups.iter().filter(|g| g.wait == Wait::Ready).map(|g| g.pc).min()?;
        let mut mask = 0;
        self.groups.retain(|g| {
            if g.pc == pc {
                mask |= g.mask;
            }
            g.pc != pc
        });
        let limit = self.groups.iter().map(|g| g.pc).filter(|&p| p > pc).min().unwrap_or(u32::MAX);
        Some((Group { pc, mask, wait: Wait::Ready }, limit))
    }

    pub fn put(&mut self, pc: u32, mask: u32, wait: Wait) {
        if mask != 0 {
            self.groups.push(Group { pc, mask, wait });
        }
    }
}
