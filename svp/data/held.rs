//! Bytes of files in memory, which count in the budget.

use std::io::Read;
use std::ops::Deref;
use std::path::Path;

use engine::budget::{self, Claim, Refused};

use crate::error::{Error, Result};
use crate::regular::{Seen, open_regular};

/// Bytes, and their claim on the budget.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    /// Held as long as the bytes.
    _claim: Claim,
}

impl Held {
    /// Bytes that were claimed before they were made.
    pub fn new(bytes: Vec<u8>, claim: Claim) -> Self {
        Held { bytes, _claim: claim }
    }

    /// So many zeros, to be written over.
    ///
    /// # Errors
    /// A budget that has fewer bytes left.
    pub fn zeros(length: u64) -> std::result::Result<Self, Refused> {
        let claim = budget::claim(length)?;
        Ok(Held { bytes: vec![0; length as usize], _claim: claim })
    }

    /// The bytes to write over.
    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The bytes, which no longer count.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a regular file.
///
/// # Errors
/// An unreadable file, one that is not a regular file, one of more than `limit` bytes or beyond the budget, and one that
/// another program shortens meanwhile.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Held> {
    let mut file = open_regular(path)?;
    let seen = Seen::of(path, &file)?;
    let length = seen.length();
    if length > limit {
        let what = format!("has {} MiB, the limit is {} MiB", length >> 20, limit >> 20);
        return Err(Error::path(path, what, "replace or remove the file"));
    }
    let mut held = Held::zeros(length).map_err(|refused| Error::refused(path, refused))?;
    file.read_exact(held.as_mut()).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => seen.shortened(),
        _ => Error::io(path, "read", &e),
    })?;
    Ok(held)
}
