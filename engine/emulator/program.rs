//! A kernel ready to run: decoded instructions, slots to fill, memory layout.

use std::sync::Arc;

use crate::isa::{Op, Slot};
use crate::meter::{Class, Line};
use crate::types::File;

/// Where the shared window starts in generic addresses; also the lowest offset of a shared variable, see [`SHARED_BASE`].
pub(crate) const SHARED_WINDOW: u64 = 0x7000_0000_0000;
/// Local windows: the same addresses for each thread.
pub(crate) const LOCAL_WINDOW: u64 = 0x7100_0000_0000;
/// Bytes a window spans.
pub(crate) const WINDOW: u64 = 1 << 32;
/// First shared offset in use, so that null is never valid.
pub(crate) const SHARED_BASE: u32 = 1024;
/// Between shared variables; a multiple of 128 keeps every variable at bank 0.
pub(crate) const SHARED_GAP: u32 = 128;
/// First local offset in use, and bytes between local variables.
pub(crate) const LOCAL_GAP: u32 = 16;
/// Variables of a module live here; buffers of a machine above.
pub(crate) const MODULE_BASE: u64 = 0x1000_0000;

/// What a special register holds, per thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    WarpCount,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    SmId,
    SmCount,
    DynamicShared,
    TotalShared,
}

/// A variable in shared or local memory, at an offset of its space.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub name: String,
    pub at: u32,
    /// The rest of dynamic shared memory if 0 and in shared space.
    pub bytes: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Inst {
    pub op: Op,
    /// `Slot::MAX` where there is none.
    pub guard: Slot,
    pub negated: bool,
    /// Reads a register that some path leaves unwritten; `tracks` writes such a register.
    pub suspect: bool,
    pub tracks: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub code: Vec<Inst>,
    pub classes: Vec<Class>,
    /// What messages and the meter say about each instruction.
    pub lines: Arc<[Line]>,
    pub words: u32,
    pub doubles: u32,
    pub preds: u32,
    pub word_constants: Vec<(Slot, u32)>,
    pub double_constants: Vec<(Slot, u64)>,
    pub specials: Vec<(Special, Slot)>,
    /// Registers that some path reads unwritten; see [`crate::flow`].
    pub watched: Vec<(File, Slot)>,
    pub tables: Vec<Vec<u32>>,
    pub shared: Vec<Placed>,
    /// Static bytes as a driver counts them, without the gaps.
    pub static_shared: u32,
    /// Offset of dynamic shared memory, after all static variables.
    pub dynamic_at: u32,
    pub local: Vec<Placed>,
    pub local_bytes: u32,
    /// Narrowest access by loads, stores and atomics, up to 4 bytes: what races are tracked by.
    pub shared_granule: u32,
    pub global_granule: u32,
}
