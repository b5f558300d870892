//! The memory of the batches of an epoch.

use engine::budget::{Claim, Refused, claim};

use super::Split;
use crate::error::{Error, Result};

impl Split {
    /// Takes the memory of an epoch: of the batches that may be made or wait, and of the one that is used.
    ///
    /// # Errors
    /// A budget that has less left, with what fits.
    pub(super) fn claim(&self, workers: usize) -> Result<Claim> {
        let bytes = self.bytes(self.batch()).saturating_mul(workers as u64 + 2);
        claim(bytes).map_err(|refused| self.explain(workers, refused))
    }

    /// Images of a whole batch.
    fn batch(&self) -> usize {
        self.options.batch.min(self.samples.len())
    }

    /// Bytes of so many images.
    fn bytes(&self, images: usize) -> u64 {
        (images as u64).saturating_mul(4 * self.transform.values() as u64)
    }

    /// What to do about memory that is refused to an epoch.
    pub(super) fn explain(&self, workers: usize, refused: Refused) -> Error {
        let batch = self.batch();
        let fit = (refused.left / self.bytes(batch)).saturating_sub(2);
        let hint = match (fit, refused.left / 3 / self.bytes(1)) {
            (0, 0) => "raise --max-memory".into(),
            (0, images) => {
                format!("use at most --batch-size {images} with --workers 1, or raise --max-memory")
            }
            (workers, _) => format!("use at most --workers {workers}, or raise --max-memory"),
        };
        let what = format!("reading batches of {batch} images ahead with {workers} data workers {refused}");
        Error::input("data", what, hint)
    }
}
