//! What goes wrong: in the text of a kernel, and while it runs.

use std::fmt;

/// Text that is no PTX, or uses what the emulator does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ParseError {
    pub file: String,
    pub line: u32,
    pub message: String,
}

/// The kind of a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// An address outside every variable or named buffer, or an access that runs over the end of one.
    OutOfBounds,
    /// An address that is no multiple of the access width.
    Misaligned,
    /// Memory or a register that nothing wrote.
    Uninitialised,
    /// Two threads at one location, one writing, and nothing between them that orders them.
    Race,
    /// A barrier that part of a block (or warp) reached and the rest cannot reach any more.
    PartialBarrier,
    /// A thread that left the kernel before a barrier, shuffle or vote that others wait at.
    ExitBeforeBarrier,
    /// A store into a buffer or variable that may only be read.
    ReadOnly,
    /// A shuffle, vote or warp barrier whose mask does not fit the threads that execute it.
    Mask,
    /// A buffer of the machine that no argument of this launch names.
    UnnamedBuffer,
    /// Number, width or kind of the arguments does not fit the kernel.
    Arguments,
    /// A grid, block or shared memory size beyond a limit.
    Limits,
    /// More instructions than the machine allows a block.
    EndlessLoop,
    /// `trap` was executed.
    Trap,
    /// A host copy or a free of an address that is no buffer.
    Host,
}

impl FaultKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfBounds => "out of bounds",
            Self::Misaligned => "misaligned",
            Self::Uninitialised => "uninitialised read",
            Self::Race => "data race",
            Self::PartialBarrier => "barrier reached by only part",
            Self::ExitBeforeBarrier => "exit before a barrier",
            Self::ReadOnly => "store into read-only memory",
            Self::Mask => "wrong mask",
            Self::UnnamedBuffer => "buffer that no argument names",
            Self::Arguments => "wrong arguments",
            Self::Limits => "launch limit",
            Self::EndlessLoop => "endless loop",
            Self::Trap => "trap",
            Self::Host => "host access",
        }
    }
}

/// Where in the kernel a fault happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the PTX file, and the line of the instruction.
    pub file: String,
    pub line: u32,
    /// `kernel.cu:42`, if the file has `.loc`.
    pub source: Option<String>,
    pub opcode: String,
    pub thread: [u32; 3],
    pub block: [u32; 3],
}

/// A check that did not hold, or a request the machine refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// The kernel, if one was asked for.
    pub kernel: Option<String>,
    /// None for what is refused before a thread runs.
    pub place: Option<Box<Place>>,
    /// The address, in the space the message names.
    pub address: Option<u64>,
    /// The rest of the message: which buffer, which other thread.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(kernel) = &self.kernel {
            write!(f, " in {kernel}")?;
        }
        if let Some(p) = &self.place {
            let [x, y, z] = p.thread;
            let [bx, by, bz] = p.block;
            write!(f, ", thread ({x}, {y}, {z}) of block ({bx}, {by}, {bz}), {}:{}", p.file, p.line)?;
            if let Some(source) = &p.source {
                write!(f, " ({source})")?;
            }
            write!(f, " `{}`", p.opcode)?;
        }
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl std::error::Error for Fault {}

/// A fault as the running code sees it: the place is added where the block is known.
#[derive(Debug)]
pub(crate) struct Stop {
    pub kind: FaultKind,
    /// Lane of the warp.
    pub lane: u32,
    pub address: Option<u64>,
    pub detail: String,
}

pub(crate) type Run<T> = Result<T, Box<Stop>>;

pub(crate) fn stop<T>(kind: FaultKind, lane: u32, address: Option<u64>, detail: impl Into<String>) -> Run<T> {
    Err(Box::new(Stop { kind, lane, address, detail: detail.into() }))
}
