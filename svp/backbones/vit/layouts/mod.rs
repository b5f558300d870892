//! Other layouts of the same weights: their tensors under timm's names, in timm's shapes.
//!
//! Nothing is copied here: a tensor under its other name is a view of the file.

mod google;
mod hugging_face;

use crate::Result;
use crate::checkpoint::Checkpoint;

/// The file under timm's names; `None` where its layout is none of these.
///
/// # Errors
/// A file of such a layout with tensors of shapes that the layout does not have, and settings beside it that cannot be
/// read.
pub(super) fn translated(file: &Checkpoint) -> Result<Option<Checkpoint>> {
    match google::translated(file)? {
        None => hugging_face::translated(file),
        found => Ok(found),
    }
}
