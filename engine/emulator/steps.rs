//! The limit on what a file can make of few bytes of text: calls are inlined, so its kernels can grow with every level.

/// The most steps that lowering the kernels of a file may take together. The largest file that we have, the selective
/// scan's with 4 MB of text, takes 2 million.
const MOST_STEPS: u64 = 1 << 24;

/// The steps of lowering a file so far. A step is a bounded amount of work, and at most about 16 bytes that are kept.
#[derive(Debug, Default)]
pub(crate) struct Steps(u64);

/// The file takes more steps than it may.
#[derive(Debug, thiserror::Error)]
#[error("the kernels of the file, with their calls inlined, take more than {MOST_STEPS} steps to prepare")]
pub(crate) struct TooMany;

impl Steps {
    /// Counts steps before they are taken.
    ///
    /// # Errors
    /// [`TooMany`] if the file had no more of them.
    pub fn take(&mut self, steps: usize) -> Result<(), TooMany> {
        self.0 = self.0.saturating_add(steps as u64);
        if self.0 > MOST_STEPS { Err(TooMany) } else { Ok(()) }
    }
}
