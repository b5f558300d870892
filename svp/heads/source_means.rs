//! Means of logits of the head with which the backbone was trained, frozen: the frequency and the iterative mapping of
//! AutoVP (Tsao et al., ICLR 2024; `docs/methods.md`, "Heads"). Which logits belong to a class is found by counting
//! ([`crate::mapping`]).

use super::classifier::build_source;
use super::entry::HeadEntry;

/// The head's entry in the registry.
pub static ENTRY: HeadEntry = HeadEntry {
    name: "source-means",
    about: "means of logits of the backbone's own head, which are counted out to the classes",
    shapes: |logits, classes| vec![("output_mapping.shares".into(), vec![classes, logits])],
    build: |entry, place| build_source(entry, place, false),
};
