//! One affine map of the class token, D -> K.

use super::classifier::{build, map};
use super::entry::HeadEntry;

/// Its entry in the registry.
pub static ENTRY: HeadEntry = HeadEntry {
    name: "linear",
    about: "one affine map, D -> classes",
    shapes: |width, classes| map("head", classes, width).into(),
    build,
};
