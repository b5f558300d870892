//! A kernel that is ready to run: decoded instructions, slots to fill, and the layout of its memory.

use std::ops::Range;
use std::sync::Arc;

use crate::extended::Extended;
use crate::isa::{Op, Slot};
use crate::meter::{Class, Line};
use crate::types::RegisterFile;

/// Stands for the number of a register that is not watched.
pub(crate) const UNWATCHED: u32 = u32::MAX;
/// The generic address at which the window of shared memory starts.
pub(crate) const SHARED_WINDOW: u64 = 0x7000_0000_0000;
/// The generic address at which the window of local memory starts, the same for each thread.
pub(crate) const LOCAL_WINDOW: u64 = 0x7100_0000_0000;
/// The address of the first function. Functions have addresses of their own, at which no data lie.
const FUNCTIONS: u64 = 0x7200_0000_0000;
/// The distance between the addresses of functions.
const FUNCTION_BYTES: u64 = 16;

/// The address of a function, by its number in the file.
pub(crate) fn function_address(number: u32) -> u64 {
    FUNCTIONS + u64::from(number) * FUNCTION_BYTES
}

/// The number of the function at an address; `None` where no function can begin.
pub(crate) fn function_number(address: u64) -> Option<u32> {
    let offset = address.checked_sub(FUNCTIONS)?;
    if offset.is_multiple_of(FUNCTION_BYTES) { u32::try_from(offset / FUNCTION_BYTES).ok() } else { None }
}

/// Where the workspace lies in which the blocks of a cooperative launch meet, and its bytes.
pub(crate) const WORKSPACE: u64 = 0x1_f000_0000;
pub(crate) const WORKSPACE_BYTES: u64 = 1024;
/// The generic address of the first parameter of a kernel, for which the window of parameters is a part of global memory.
pub(crate) const PARAM_WINDOW: u64 = 0x7300_0000_0000;
/// The bytes that a window spans.
pub(crate) const WINDOW: u64 = 1 << 32;
/// The first offset of shared memory in use, so that null is never valid.
pub(crate) const SHARED_BASE: u32 = 1024;
/// The gap between shared variables in bytes; a multiple of 128 keeps every variable at bank 0.
pub(crate) const SHARED_GAP: u32 = 128;
/// The first offset of local memory in use, and the gap between local variables in bytes.
pub(crate) const LOCAL_GAP: u32 = 16;
/// The first address of a module's variables; the buffers of a machine lie above.
pub(crate) const MODULE_BASE: u64 = 0x1000_0000;
/// The address of a module's first constant. The variables below it have less than a gigabyte, and the machine's buffers lie above 2^33.
pub(crate) const CONST_BASE: u64 = 0x8000_0000;
/// The end of the addresses that a module's constants can have.
pub(crate) const CONST_END: u64 = 0x1_0000_0000;

/// A special register, which can differ between threads. The numbers are axes: 0 is x.
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
    /// The number of the launch.
    GridId,
    /// What a driver tells a kernel. Cooperative groups find the workspace of the grid by the first two of them.
    EnvReg(u8),
}

/// A variable in shared or local memory, at an offset of its space.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub name: String,
    pub at: u32,
    /// The size in bytes. In shared memory, 0 marks what takes all dynamic shared memory of a launch.
    pub bytes: u32,
}

/// An instruction with its guard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inst {
    pub op: Op,
    /// The predicate that must hold, or [`NO_SLOT`](crate::isa::NO_SLOT).
    pub guard: Slot,
    /// The predicate must not hold.
    pub negated: bool,
    /// The instruction uses a register that some path leaves unwritten.
    pub suspect: bool,
    /// The instruction writes such a register.
    pub tracks: bool,
}

/// A function that is compiled out of line. Its registers are the slots of its ranges, and its variables lie in a frame.
#[derive(Debug, Clone, Default)]
pub(crate) struct FunctionCode {
    /// The number of the function in its file.
    pub number: u32,
    /// The counter of its first instruction.
    pub entry: u32,
    pub words: Range<Slot>,
    pub doubles: Range<Slot>,
    pub preds: Range<Slot>,
    pub frame_bytes: u32,
    pub frame_align: u32,
    /// The offset in the frame and the bytes of each parameter and of each result.
    pub params: Vec<(u32, u32)>,
    pub returns: Vec<(u32, u32)>,
    /// The variables of the frame, parameters among them.
    pub placed: Vec<Placed>,
}

/// A variable in local memory that a call passes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The offset in local memory, or from the frame pointer.
    pub at: u32,
    pub bytes: u32,
    pub in_frame: bool,
}

/// A call of a function out of line.
#[derive(Debug, Clone)]
pub(crate) struct CallSite {
    /// The number of the function in [`Program::functions`]; none for an indirect call.
    pub target: Option<u32>,
    pub args: Vec<Place>,
    pub returns: Vec<Place>,
}

/// The functions that a driver provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemFunction {
    Print,
    AssertFail,
    Malloc,
    Free,
}

impl SystemFunction {
    /// The function of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "vprintf" => Self::Print,
            "__assertfail" => Self::AssertFail,
            "malloc" => Self::Malloc,
            "free" => Self::Free,
            _ => return None,
        })
    }

    /// The bytes of each parameter, and of each result.
    pub fn signature(self) -> (&'static [u64], &'static [u64]) {
        match self {
            Self::Print => (&[8, 8], &[4]),
            Self::AssertFail => (&[8, 8, 4, 8, 8], &[]),
            Self::Malloc => (&[8], &[8]),
            Self::Free => (&[8], &[]),
        }
    }
}

/// A call of a function that a driver provides.
#[derive(Debug, Clone)]
pub(crate) struct SystemCall {
    pub function: SystemFunction,
    pub args: Vec<Place>,
    pub returns: Vec<Place>,
}

/// A kernel. The number of an instruction in `code` is its program counter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub code: Vec<Inst>,
    /// The class of each instruction.
    pub classes: Vec<Class>,
    /// What messages and the meter say about each instruction.
    pub lines: Arc<[Line]>,
    /// The number of registers in each file.
    pub words: u32,
    pub doubles: u32,
    pub preds: u32,
    /// Slots with a fixed value.
    pub word_constants: Vec<(Slot, u32)>,
    pub double_constants: Vec<(Slot, u64)>,
    pub specials: Vec<(Special, Slot)>,
    /// Registers that some path reads unwritten; see [`crate::flow`].
    pub watched: Vec<(RegisterFile, Slot)>,
    /// Instructions with more operands than an [`Op`] holds.
    pub extended: Vec<Extended>,
    /// For each register of the three files, its number among them, or [`UNWATCHED`].
    pub watched_numbers: Arc<[Vec<u32>; 3]>,
    /// The names of these registers.
    pub watched_names: Vec<String>,
    /// The first instructions of the basic blocks, in order.
    pub leaders: Vec<u32>,
    /// The program has an atomic `cas`.
    pub has_cas: bool,
    /// The targets of each branch table.
    pub tables: Vec<Vec<u32>>,
    /// The functions that are compiled out of line, and the calls of them.
    pub functions: Vec<FunctionCode>,
    pub calls: Vec<CallSite>,
    pub system_calls: Vec<SystemCall>,
    /// The kernel makes generic addresses of its parameters.
    pub generic_params: bool,
    /// The register that holds where the frame of a thread's function begins.
    pub frame_pointer: Option<Slot>,
    pub shared: Vec<Placed>,
    /// Bytes of static shared memory as a driver counts them, without the gaps.
    pub static_shared: u32,
    /// The offset of dynamic shared memory, after all static variables.
    pub dynamic_at: u32,
    pub local: Vec<Placed>,
    /// Bytes of local memory, with the gaps.
    pub local_bytes: u32,
    /// The narrowest access to each memory, up to 4 bytes; races are tracked by as many bytes.
    pub shared_granule: u32,
    pub global_granule: u32,
}
