//! What is wrong with a file of weights, before it is known which file it is.

use std::path::Path;

use data::pickle;
use engine::budget::Refused;

use crate::Error;

/// Longest finding in an error or a note, in characters; names in a hostile file may be of any length.
pub(super) const MAX_FINDING: usize = 500;

/// What is wrong with the content of a file, and what to do; whoever knows the path makes it an [`Error`].
#[derive(Debug)]
pub(super) struct Fault {
    what: String,
    hint: &'static str,
}

impl Fault {
    pub fn new(what: impl Into<String>, hint: &'static str) -> Self {
        Fault { what: what.into(), hint }
    }

    /// Something that no writer writes.
    pub fn damaged(what: impl Into<String>) -> Self {
        Fault::new(what, "the file is damaged or incomplete: get it again")
    }

    /// The same, with the place in the file.
    pub fn at(mut self, place: &str) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }

    pub fn in_file(self, path: &Path) -> Error {
        // What a file says about itself goes to a terminal: one line, nothing that steers it.
        let plain = self.what.chars().map(|c| if c.is_control() { '?' } else { c });
        Error::path(path, plain.take(MAX_FINDING).collect::<String>(), self.hint)
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        Fault::new(refused.to_string(), "raise --max-memory, or use another checkpoint")
    }
}

impl From<pickle::PickleError> for Fault {
    fn from(error: pickle::PickleError) -> Self {
        Fault::damaged(error.to_string())
    }
}
