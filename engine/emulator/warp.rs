//! A warp: its registers, its local memory, and where each of its lanes is in the program.

use crate::frames::Stack;
use crate::isa::AsyncCopy;
use crate::lanes::Lanes;
use crate::program::Program;
use crate::registers::Registers;

/// What lanes at one instruction wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: they can go on.
    Ready,
    /// Their next turn: the other lanes of the warp that can go on come first.
    Turn,
    /// Other lanes of the warp, at a shuffle, vote or warp barrier.
    Lanes,
    /// Other threads of the block, at barrier `id` of `count` threads, where 0 stands for all.
    Block { id: u32, count: u32 },
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
    /// The lanes whose copy is still under way.
    pub mask: u32,
    /// The commit group of each lane's copy.
    pub group: Lanes<u32>,
}

/// The limit of a group that no other group waits for.
pub(crate) const NO_LIMIT: u32 = u32::MAX;

/// A warp of the block that a worker runs.
#[derive(Debug)]
pub(crate) struct Warp {
    pub index: u32,
    /// The bytes of local memory of the kernel itself.
    local_bytes: u32,
    pub registers: Registers,
    pub groups: Vec<Group>,
    /// The lanes that exist.
    pub lanes: u32,
    /// The lanes that have not exited.
    pub live: u32,
    /// The words of local memory, by lane.
    pub local: Vec<Lanes<u32>>,
    /// For each byte of a word of local memory, the lanes that wrote it.
    pub local_written: Vec<[u32; 4]>,
    /// The calls that lanes are in, of functions that lie out of line.
    pub stack: Stack,
    pub flights: Vec<Flight>,
    /// The number of commit groups that each lane has closed.
    pub committed: Lanes<u32>,
    /// The instructions that were executed in this block.
    pub executed: u64,
    /// How many of them the block's total has already.
    pub reported: u64,
    /// At which number of executed instructions the turn of the running lanes ends, at the next jump backwards.
    pub turn_ends: u64,
    /// The lanes might wait for others: in this turn they read what others may write meanwhile.
    pub polls: bool,
}

impl Warp {
    pub fn new(index: u32, program: &Program) -> Self {
        let words = if program.local.is_empty() { 0 } else { program.local_bytes.div_ceil(4) as usize };
        Self {
            index,
            local_bytes: program.local_bytes,
            registers: Registers::new(program),
            groups: Vec::new(),
            lanes: 0,
            live: 0,
            local: vec![[u32::MAX; 32]; words],
            local_written: vec![[0; 4]; words],
            stack: Stack::new(program.local_bytes),
            flights: Vec::new(),
            committed: [0; 32],
            executed: 0,
            reported: 0,
            turn_ends: 0,
            polls: false,
        }
    }

    /// Starts a block with the lanes that exist.
    pub fn start(&mut self, lanes: u32) {
        self.registers.reset();
        self.groups.clear();
        self.groups.push(Group { pc: 0, mask: lanes, wait: Wait::Ready });
        self.lanes = lanes;
        self.live = lanes;
        self.local_written.fill([0; 4]);
        self.stack = Stack::new(self.local_bytes);
        self.flights.clear();
        self.committed = [0; 32];
        self.executed = 0;
        self.reported = 0;
    }

    /// Whether some lanes can go on.
    pub fn ready(&self) -> bool {
        self.groups.iter().any(|g| g.wait == Wait::Ready)
    }

    /// Whether some lanes wait at a barrier of the block.
    pub fn at_barrier(&self) -> bool {
        self.groups.iter().any(|g| matches!(g.wait, Wait::Block { .. }))
    }

    /// Takes out the ready group with the lowest counter, joined by all others at that counter, and says where the next
    /// group is: the taken one must come back when it gets there. When all ready groups have had their turn, there is none
    /// to take, and each has a turn again.
    pub fn take(&mut self) -> Option<(Group, u32)> {
        let Some(pc) = self.groups.iter().filter(|g| g.wait == Wait::Ready).map(|g| g.pc).min() else {
            self.groups.iter_mut().filter(|g| g.wait == Wait::Turn).for_each(|g| g.wait = Wait::Ready);
            return None;
        };
        let mut mask = 0;
        self.groups.retain(|g| {
            if g.pc == pc {
                mask |= g.mask;
            }
            g.pc != pc
        });
        let limit = self.groups.iter().map(|g| g.pc).filter(|&p| p > pc).min().unwrap_or(NO_LIMIT);
        Some((Group { pc, mask, wait: Wait::Ready }, limit))
    }

    /// Leaves lanes at an instruction.
    pub fn put(&mut self, pc: u32, mask: u32, wait: Wait) {
        if mask != 0 {
            self.groups.push(Group { pc, mask, wait });
        }
    }
}
