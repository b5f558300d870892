//! Checkpoints written by `torch.save`. The two containers, `zip` and `legacy`, differ only in where the bytes of a
//! storage lie; what is in them is the same (`state_dict`).

pub(super) mod legacy;
pub(super) mod state_dict;
pub(super) mod write;
pub(super) mod zip;
