//! Errors as a user meets them: where, what, what to do.

use std::path::Path;

/// Anything that ends a command. [`Error::exit_code`] tells scripts which kind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is at fault (file, flag, setting): place, finding, remedy.
    #[error("{at}: {what}; {hint}")]
    Input { at: String, what: String, hint: String },
    /// The loss stopped being finite.
    #[error("step {step}: the loss is {loss}; {what}; {hint}")]
    Diverged { step: u64, loss: f32, what: String, hint: String },
    /// A signal asked to stop; everything is saved.
    #[error("stopped by a signal after step {step}; {hint}")]
    Interrupted { step: u64, hint: String },
    /// The device stopped working; what was saved can be continued.
    #[error("{what}; {hint}")]
    Lost { what: String, hint: String },
    /// A tensor or op refused.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

/// Result of anything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Bad input at a place, with what to do about it.
    pub fn input(at: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::Input { at: at.into(), what: what.into(), hint: hint.into() }
    }

    /// Bad input in a file or folder.
    pub fn path(path: &Path, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::input(path.display().to_string(), what, hint)
    }

    /// The same, with the wider place of bad input before it.
    pub fn within(self, place: &str) -> Self {
        match self {
            Error::Input { at, what, hint } => Error::Input { at: format!("{place}: {at}"), what, hint },
            other => other,
        }
    }

    /// An operating-system error on a path, with the remedy that fits its kind.
    pub fn io(path: &Path, doing: &str, source: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let hint = match source.kind() {
            K::NotFound => "check the path",
            K::PermissionDenied => "check the permissions, or choose another place",
            K::ReadOnlyFilesystem => "choose a place that can be written",
            K::StorageFull | K::QuotaExceeded => "free some space, then run again",
            _ => "check the file and the disk",
        };
        Error::path(path, format!("cannot {doing}: {source}"), hint)
    }

    /// Exit code: 1 bad input, 3 diverged, 75 interrupted or the device lost, but resumable (2 is a usage error).
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Input { .. } | Error::Engine(_) => 1,
            Error::Diverged { .. } => 3,
            Error::Interrupted { .. } | Error::Lost { .. } => 75,
        }
    }
}
