//! The frames of the functions that the lanes of a warp are in.

use crate::lanes::Lanes;
use crate::program::Place;
use crate::registers::Saved;

/// A call that some lanes have not returned from. A lane may be in several frames; the last of them is the one of the
/// function that it executes.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The lanes that have not returned.
    pub lanes: u32,
    /// The counter to which they return.
    pub back: u32,
    /// The number of the function in its program.
    pub function: u32,
    /// Where the caller wants the results.
    pub returns: Vec<Place>,
    /// The frame pointer and the end of the stack of each lane before the call.
    pub pointers: Lanes<u64>,
    pub tops: Lanes<u32>,
    /// The registers of the function before the call, if the lanes were in it already.
    pub saved: Option<Saved>,
}

/// The stack of calls of a warp.
#[derive(Debug)]
pub(crate) struct Stack {
    pub frames: Vec<Frame>,
    /// The end of each lane's local memory in use.
    pub tops: Lanes<u32>,
    /// The bytes of registers that all frames keep.
    pub saved: usize,
}

impl Stack {
    /// A stack that begins after `bytes` of local memory.
    pub fn new(bytes: u32) -> Self {
        Self { frames: Vec::new(), tops: [bytes; 32], saved: 0 }
    }
}
