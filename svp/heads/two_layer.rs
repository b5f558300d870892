//! A head D -> D/2 -> K with nothing between, from the published SVP recipe for CUB-200, NABirds and Flowers
//! (`docs/methods.md`, "Heads").

use super::classifier::{build, map};
use super::entry::HeadEntry;

/// The head's entry in the registry.
pub static ENTRY: HeadEntry = HeadEntry {
    name: "two-layer",
    about: "D -> D/2 -> classes",
    shapes: |width, classes| [map("head.0", width / 2, width), map("head.1", classes, width / 2)].concat(),
    build,
};
