//! A trained affine map S -> K on the logits of the head with which the backbone was trained, which stays frozen: the full
//! mapping of AutoVP (Tsao et al., ICLR 2024; `docs/methods.md`, "Heads").

use super::classifier::{build_source, map};
use super::entry::HeadEntry;

/// The head's entry in the registry.
pub static ENTRY: HeadEntry = HeadEntry {
    name: "source-map",
    about: "an affine map of the logits of the backbone's own head",
    shapes: |logits, classes| map("output_mapping.layers", classes, logits).into(),
    build: |entry, place| build_source(entry, place, true),
};
