//! A head of one affine map of features that are normalised over the batch, as AdaptFormer's (Chen et al., NeurIPS 2022;
//! `docs/methods.md`, "Heads"). Evaluation normalises by a running mean and variance.

use super::classifier::{build_normalised, map};
use super::entry::HeadEntry;

/// The head's entry in the registry.
pub static ENTRY: HeadEntry = HeadEntry {
    name: "batch-norm",
    about: "batch normalization, then one affine map, D -> classes",
    shapes: |width, classes| map("head.1", classes, width).into(),
    build: build_normalised,
};
