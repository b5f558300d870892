//! The head with which the backbone was trained, frozen: its first K logits are the classes of the task (the fixed mapping
//! of VP, Bahng et al. 2022; `docs/methods.md`, "Heads"). Methods that change the pixels use it.

use super::classifier::{build_first, map};
use super::entry::HeadEntry;

/// The head's entry in the registry.
pub static ENTRY: HeadEntry = HeadEntry {
    name: "first-k",
    about: "the first logits of the backbone's own head, frozen",
    shapes: |width, classes| map("head", classes, width).into(),
    build: build_first,
};
