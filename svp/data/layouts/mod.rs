//! How data sets lie on disk. There is one reader for each layout, and one function that finds the layout that fits.
//!
//! Every reader sees its data set as [`Files`](crate::files::Files), no matter whether they lie in folders or archives.
//! The layouts and their sources are described in `docs/data.md`.

mod birds;
mod cars;
mod cifar;
mod dogs;
mod dtd;
#[cfg(test)]
mod examples;
mod find;
mod flowers;
mod folder;
mod food;
mod gtsrb;
mod json;
mod known;
mod layout;
mod lists;
mod published;
mod rows;
mod splits;
mod svhn;
#[cfg(test)]
mod tests;
mod vtab;

pub(crate) use find::{Recognised, find, find_for};
pub use known::{Counts, KNOWN, Known};
pub use layout::Layout;
pub(crate) use splits::{LeftOut, Purpose, Splits};
