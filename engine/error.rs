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
    /// A launched device failed: out of memory, or a fault in a kernel.
    #[error("{device} device: {what}")]
    Device { device: &'static str, what: String },
}

/// Result of an engine or op call.
pub type Result<T> = std::result::Result<T, Error>;
