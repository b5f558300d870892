//! What the files of the op share.

pub(super) const OP: &str = "gelu";
