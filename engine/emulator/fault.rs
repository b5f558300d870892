//! What can go wrong in the text of a kernel and while it runs.

use std::fmt;

/// Text that is not PTX, or that uses what the emulator does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {}", Shown(file), Shown(message))]
pub struct ParseError {
    /// The file name that was given to [`Module::parse`](crate::Module::parse).
    pub file: String,
    /// The line of the text, from 1.
    pub line: u32,
    /// What is wrong there, in one line.
    pub message: String,
}

/// Text that may repeat what a file says: in one line that steers no terminal, and not at any length.
struct Shown<'t>(&'t str);

/// The most characters that are shown of it, those of escapes among them.
const MOST_SHOWN: usize = 500;

/// Whether a character acts on how a text is shown instead of being shown. Marks of the direction of writing, and those
/// that are not seen, are no control characters.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = MOST_SHOWN;
        for c in self.0.chars() {
            let escape = steers(c).then(|| c.escape_default());
            match left.checked_sub(escape.as_ref().map_or(1, ExactSizeIterator::len)) {
                None => return f.write_str("..."),
                Some(rest) => left = rest,
            }
            match escape {
                Some(escape) => write!(f, "{escape}")?,
                None => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// The kind of a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// An address lies outside every variable and named buffer, or an access runs over the end of one.
    OutOfBounds,
    /// An address is not a multiple of the access width.
    Misaligned,
    /// Memory or a register is read that nothing wrote.
    Uninitialised,
    /// Two threads access the same bytes, one of them writes, and nothing orders them.
    Race,
    /// A part of a block (or warp) reached a barrier that the rest cannot reach any more.
    PartialBarrier,
    /// A thread left the kernel before a barrier, shuffle or vote at which others wait.
    ExitBeforeBarrier,
    /// A store goes into a buffer or variable that may only be read.
    ReadOnly,
    /// The mask of a shuffle, vote or warp barrier does not fit the threads that execute it.
    Mask,
    /// An address lies in a buffer of the machine that no argument of this launch names.
    UnnamedBuffer,
    /// The number, the width or the kind of the arguments does not fit the kernel.
    Arguments,
    /// The size of a grid, of a block or of shared memory is beyond a limit.
    Limits,
    /// A block executed more instructions than the machine allows it.
    EndlessLoop,
    /// The kernel executed `trap`.
    Trap,
    /// A copy by the host is not within one buffer.
    Host,
    /// The frames of nested calls need more memory than a thread has.
    StackOverflow,
    /// An assertion of the kernel does not hold.
    Assertion,
    /// The kernel frees what `malloc` did not give it, or twice, or uses what it has freed.
    Heap,
    /// The kernel has something that the emulator does not have.
    Unsupported,
}

impl FaultKind {
    /// The name with which messages begin.
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
            Self::StackOverflow => "stack overflow",
            Self::Assertion => "assertion",
            Self::Heap => "heap of the device",
            Self::Unsupported => "unsupported kernel",
        }
    }
}

/// Where in a kernel a fault happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The name of the PTX file.
    pub file: String,
    /// The line of the instruction in the PTX file, from 1.
    pub line: u32,
    /// The line of the CUDA source, such as `kernel.cu:42`, if the PTX file has `.loc`.
    pub source: Option<String>,
    /// The opcode with all its modifiers.
    pub opcode: String,
    /// The coordinates of the thread in its block.
    pub thread: [u32; 3],
    /// The coordinates of the block in the grid.
    pub block: [u32; 3],
}

/// A check that did not hold, or a request that the machine refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The kernel that was launched; none for requests of the host.
    pub kernel: Option<String>,
    /// The instruction and its thread; none for what is refused before a thread runs.
    pub location: Option<Box<Location>>,
    /// The address, in the space that the message names.
    pub address: Option<u64>,
    /// The rest of the message, such as the buffer or the other thread.
    pub detail: String,
    /// Further faults of the launch, where [`Options::collect`](crate::Options::collect) asks for them.
    pub more: Vec<Fault>,
}

impl Fault {
    /// A request of the host that the machine refuses.
    pub(crate) fn host(kind: FaultKind, address: Option<u64>, detail: String) -> Self {
        Self { kind, kernel: None, location: None, address, detail, more: Vec::new() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(kernel) = &self.kernel {
            write!(f, " in {}", Shown(kernel))?;
        }
        if let Some(location) = &self.location {
            let Location { file, line, source, opcode, thread: [x, y, z], block: [bx, by, bz] } = &**location;
            write!(f, ", thread ({x}, {y}, {z}) of block ({bx}, {by}, {bz}), {}:{line}", Shown(file))?;
            if let Some(source) = source {
                write!(f, " ({})", Shown(source))?;
            }
            write!(f, " `{}`", Shown(opcode))?;
        }
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        write!(f, ": {}", Shown(&self.detail))
    }
}

impl std::error::Error for Fault {}

/// A fault as the running code sees it; the location is added where the block is known.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub kind: FaultKind,
    /// The lane of the warp.
    pub lane: u32,
    pub address: Option<u64>,
    pub detail: String,
}

/// The result of something that runs for one warp.
pub(crate) type Run<T> = Result<T, Box<Stop>>;

/// Stops the kernel with a fault.
pub(crate) fn stop<T>(kind: FaultKind, lane: u32, address: Option<u64>, detail: impl Into<String>) -> Run<T> {
    Err(Box::new(Stop { kind, lane, address, detail: detail.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_shown_in_one_short_line() {
        let message = format!("a\n\u{1b}[2J\u{202e}{}", "x".repeat(80_000));
        let line = ParseError { file: "k.ptx".into(), line: 3, message: message.clone() }.to_string();
        assert!(line.starts_with("k.ptx:3: a\\n\\u{1b}[2J\\u{202e}xxx") && line.ends_with("x..."), "{line}");
        assert!(line.len() < 600, "{}", line.len());
        let unseen =
            ParseError { file: "\u{feff}".repeat(9000), line: 3, message: "\u{61c}\u{200b}\u{2066}".into() };
        let line = unseen.to_string();
        assert!(line.ends_with("\\u{feff}...:3: \\u{61c}\\u{200b}\\u{2066}") && line.len() < 600, "{line}");
        let location = Location {
            file: message.clone(),
            line: 1,
            source: Some(message.clone()),
            opcode: message.clone(),
            thread: [0; 3],
            block: [0; 3],
        };
        let fault = Fault {
            kind: FaultKind::Trap,
            kernel: Some(message.clone()),
            location: Some(Box::new(location)),
            address: None,
            detail: message,
            more: Vec::new(),
        };
        let line = fault.to_string();
        assert!(line.len() < 3000 && !line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line}");
    }
}
