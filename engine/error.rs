//! The one error type of the engine and of the ops above it.

/// What can go wrong below the model: every variant names the place, what was wanted and what came.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A tensor has another shape than the op needs.
    #[error("{op}: {name} must be {want}, got {got:?}")]
    Shape { op: &'static str, name: String, want: String, got: Vec<usize> },
    /// A setting outside what an op supports.
    #[error("{op}: {what}")]
    Unsupported { op: &'static str, what: String },
    /// A value that must be finite is not.
    #[error("{at}: first non-finite value at element {index} ({value})")]
    NonFinite { at: String, index: usize, value: f32 },
    /// A launched device failed: a fault in a kernel, a refused call, a driver that cannot be used.
    #[error("{device} device: {what}")]
    Device { device: &'static str, what: String },
    /// A launched device has not enough memory; bytes.
    #[error("{device} device: out of memory: {} MiB more asked for, {} of {} MiB free", asked >> 20, free >> 20, total >> 20)]
    Memory { device: &'static str, asked: usize, free: usize, total: usize },
    /// A launched device stopped working: what it holds is gone, and this process cannot use it any more.
    #[error("{device} device: lost: {what}")]
    Lost { device: &'static str, what: String },
}

/// Result of an engine or op call.
pub type Result<T, E = Error> = std::result::Result<T, E>;
