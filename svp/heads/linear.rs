//! A head of one affine map of the class token, D -> K (`docs/methods.md`, "Heads").

use super::classifier::{build, map};
use super::entry::HeadEntry;

/// The head's entry in the registry.
pub static ENTRY: HeadEntry = HeadEntry {
    name: "linear",
    about: "one affine map, D -> classes",
    shapes: |width, classes| map("head", classes, width).into(),
    build,
};
