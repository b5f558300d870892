//! Errors as a user meets them: where something is wrong, what it is, and what to do about it.

use std::path::Path;

use crate::text::brief;

/// Anything that ends a command. [`Error::exit_code`] tells scripts which kind it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is at fault: a file, a flag or a setting. It is shown in one line, whatever a name in it holds.
    #[error("{}: {}; {}", brief(at), brief(what), brief(hint))]
    Input {
        /// The file, flag or setting.
        at: String,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The system refuses what it allows at other times, such as one more open file. The input is not at fault.
    #[error("{}: {}; {}", brief(at), brief(what), brief(hint))]
    System {
        /// What was asked for.
        at: String,
        /// What the system said.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The loss stopped being finite.
    #[error("step {step}: the loss is {loss}; {what}; {hint}")]
    Diverged {
        /// The step at which it was found.
        step: u64,
        /// The loss of that step.
        loss: f32,
        /// What became of the run.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// A signal asked the run to stop; everything is saved.
    #[error("stopped by a signal after step {step}; {hint}")]
    Interrupted {
        /// The last step that was taken.
        step: u64,
        /// How to continue.
        hint: String,
    },
    /// The device stopped working; a run can be continued from what was saved.
    #[error("{what}; {hint}")]
    Lost {
        /// What the device reported.
        what: String,
        /// How to continue.
        hint: String,
    },
    /// A tensor or an op refused its arguments.
    #[error("{}", brief(.0.to_string()))]
    Engine(#[from] engine::Error),
}

/// Result of anything that can fail with an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Result of reading something whose place only the caller knows. The error says in a few words what is wrong, so
/// that it reads on behind the name of a file.
pub(crate) type Parsed<T> = std::result::Result<T, String>;

impl Error {
    /// Bad input at a place, with what to do about it. The middle of what is long is left out (see [`brief`]), as each of
    /// them may repeat what a file says.
    pub fn input(at: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::Input { at: brief(at), what: brief(what), hint: brief(hint) }
    }

    /// Bad input in a file or folder.
    pub fn path(path: &Path, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::input(path.display().to_string(), what, hint)
    }

    /// Names the wider place, such as the file around a key, in front of the place of bad input. Other errors stay as
    /// they are.
    pub fn within(self, place: &str) -> Self {
        match self {
            Error::Input { at, what, hint } => {
                Error::Input { at: brief(format!("{place}: {at}")), what, hint }
            }
            other => other,
        }
    }

    /// An operating-system error on a path, with the remedy that fits its kind.
    pub fn io(path: &Path, doing: &str, source: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        // The numbers of ENFILE and EMFILE, which have no kind of their own.
        if cfg!(unix) && matches!(source.raw_os_error(), Some(23 | 24)) {
            let hint = "raise the limit on open files (ulimit -n), or use fewer --workers";
            let (at, what) = (path.display().to_string(), format!("cannot {doing}: {source}"));
            return Error::System { at, what, hint: hint.into() };
        }
        let hint = match source.kind() {
            K::NotFound => "check the path",
            K::PermissionDenied => "check the permissions, or choose another place",
            K::ReadOnlyFilesystem => "choose a place that can be written",
            K::StorageFull | K::QuotaExceeded => "free some space, then run again",
            K::FileTooLarge => "raise the limit on the size of files (ulimit -f), then run again",
            _ => "check the file and the disk",
        };
        Error::path(path, format!("cannot {doing}: {source}"), hint)
    }

    /// A file that wants more memory than the budget has left.
    pub fn refused(path: &Path, refused: engine::budget::Refused) -> Self {
        Error::path(path, refused.to_string(), "raise --max-memory, or leave the file out")
    }

    /// Exit code of a program that ends with this error: 1 for bad input, 3 for a run that diverged, 75 for one that
    /// was interrupted or lost its device and can be resumed. (2 is a usage error.)
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Input { .. } | Error::System { .. } | Error::Engine(_) => 1,
            Error::Diverged { .. } => 3,
            Error::Interrupted { .. } | Error::Lost { .. } => 75,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_whatever_a_file_says() {
        let long = "\u{1b}".repeat(80_000);
        let error = Error::input(&long, &long, &long).within(&long);
        assert!(error.to_string().len() < 1_900 && !error.to_string().contains('\u{1b}'));
        let Error::Input { at, what, hint } = error else { panic!("another error") };
        assert!([&at, &what, &hint].iter().all(|part| part.chars().count() < 610), "{}", at.len());
        let shape = engine::Error::Shape { op: "map", name: long, want: "[1]".into(), got: vec![2] };
        assert!(Error::from(shape).to_string().len() < 2_000);
    }

    #[test]
    #[cfg(unix)]
    fn too_many_open_files_are_no_fault_of_the_file() {
        let error = Error::io(Path::new("a.png"), "open", &std::io::Error::from_raw_os_error(24));
        assert!(matches!(error, Error::System { .. }), "{error}");
        assert!(error.to_string().contains("a.png") && error.to_string().contains("ulimit -n"), "{error}");
    }

    #[test]
    fn a_file_that_may_not_grow_names_the_limit() {
        let line =
            Error::io(Path::new("a.bin"), "write", &std::io::ErrorKind::FileTooLarge.into()).to_string();
        assert!(line.contains("ulimit -f"), "{line}");
    }
}
