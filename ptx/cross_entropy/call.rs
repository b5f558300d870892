//! The sizes of a call of cross-entropy.

use engine::shape::{axes, check_shape};
use engine::{Error, Result, Tensor};

pub(super) const OP: &str = "cross_entropy";

/// The number of classes, once the shapes are right.
pub(super) fn check(logits: &[usize], targets: &Tensor) -> Result<usize> {
    let [b, k] = axes(OP, "logits", "[b k]", logits)?;
    check_shape(OP, "targets", "[b k]", &[b, k], targets.shape())?;
    if b * k == 0 {
        return Err(Error::Unsupported { op: OP, what: format!("no loss over {b} samples of {k} classes") });
    }
    Ok(k)
}
