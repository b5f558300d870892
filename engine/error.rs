//! The one error type of the engine and of the ops above it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What can go wrong below the model. Every variant names where, what was wanted, and what came.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A tensor has another shape than the op needs.
    #[error("{op}: {name} must be {want}, got {got:?}")]
    Shape {
        /// The op that refuses.
        op: &'static str,
        /// The name of the tensor in the op's formula.
        name: String,
        /// The axes and sizes that it must have, such as `[b l e] = [2 197 768]`.
        want: String,
        /// The shape that it has.
        got: Vec<usize>,
    },
    /// A setting is outside what an op supports.
    #[error("{op}: {what}")]
    Unsupported {
        /// The op that refuses.
        op: &'static str,
        /// The setting, and what is supported.
        what: String,
    },
    /// A value that must be finite is not.
    #[error("{at}: first non-finite value at element {index} ({value})")]
    NonFinite {
        /// The tensor, or the part of the model and the op that made it.
        at: String,
        /// The position of the first such element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A launched device failed: there is a fault in a kernel, a refused call, or a driver that cannot be used.
    #[error("{device} device: {what}")]
    Device {
        /// The name of the kind of device.
        device: &'static str,
        /// The failure, and what it was about.
        what: String,
    },
    /// A device has not enough memory: a launched one of its own, or the CPU of the program's [`budget`](crate::budget).
    /// Sizes are in bytes.
    #[error(
        "{device} device: out of memory: {} MiB more asked for, {} of {} MiB free",
        asked.div_ceil(1 << 20), free >> 20, total >> 20
    )]
    Memory {
        /// The name of the kind of device.
        device: &'static str,
        /// The bytes that were asked for.
        asked: usize,
        /// The bytes that are free.
        free: usize,
        /// All bytes of the device.
        total: usize,
    },
    /// A launched device stopped working: what it holds is gone, and this process cannot use it any more.
    #[error("{device} device: lost: {what}")]
    Lost {
        /// The name of the kind of device.
        device: &'static str,
        /// The failure, and the call that saw it.
        what: String,
    },
}

/// The result of an engine or op call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Does `work`, and returns the error if a tensor of the CPU found no memory in it. Panics go on.
///
/// # Errors
/// [`Error::Memory`], and those of `work`.
pub fn or_out_of_memory<T, E: From<Error>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    // What `work` left half done is not used again, but for pools, which count nothing that was refused.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| match payload.downcast::<Error>() {
        Ok(error) => Err((*error).into()),
        Err(panic) => resume_unwind(panic),
    })
}

/// Goes back to [`or_out_of_memory`], without the message of a panic.
pub(crate) fn unwind(error: Error) -> ! {
    resume_unwind(Box::new(error))
}
