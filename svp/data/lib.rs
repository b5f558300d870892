//! Image data sets for training: finding them, reading them, changing them and handing them out in batches.
//!
//! Nothing here knows a model. The rooms, from the bottom up; a module uses only those above it in this list:
//!
//! - [`error`], [`mod@text`] (how names are shown), [`sha256`], [`streams`] (numbers of random streams), [`watch`] (how
//!   long work is watched)
//! - [`regular`]: how files are opened, and whether they stay what they were; [`mapped`] and `held`: whole files in
//!   memory; `room`: pictures beside one another in memory
//! - [`pickle`] and `mat`: readers of Python pickles and MATLAB files
//! - [`decode`] and [`resize`]: from an image file to 8-bit pixels
//! - [`augment`] and [`transform`]: from pixels to the numbers that a model sees
//! - [`archive`]: `.tar`, `.tar.gz` and `.zip`, read in place
//! - [`procedural`]: image tasks drawn by code
//! - [`source`] and [`sample`]: where a picture comes from, and its class
//! - `files`: folders and archives seen as one tree of files
//! - [`layouts`]: one reader for each way in which a data set lies on disk
//! - [`duplicates`]: pictures that are in two splits
//! - [`dataset`]: a [`Dataset`] is class names and the samples of its splits; [`mod@check`] compares one with what was
//!   published
//! - [`loader`]: batches, decoded by threads of their own while the model computes
//!
//! Nothing here keeps random state: the order of an epoch, the augmentation of a sample and the pixels of a
//! drawn picture are functions of (seed, epoch, sample). What is read and how it is laid out is described in
//! `docs/data.md`, what the published program does to a picture in `docs/recipe.md`.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod archive;
pub mod augment;
pub mod check;
pub mod dataset;
pub mod decode;
pub mod duplicates;
pub mod error;
mod files;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod held;
pub mod layouts;
pub mod loader;
pub mod mapped;
mod mat;
pub mod pickle;
mod picture;
pub mod procedural;
pub mod regular;
pub mod resize;
mod room;
pub mod sample;
pub mod sha256;
mod shuffle;
pub mod source;
pub mod streams;
#[cfg(test)]
mod testing;
pub mod text;
pub mod transform;
pub mod watch;

pub use augment::{Augment, Mix, RandAugment};
pub use check::{Check, CheckedSplit, Depth, Problem, check};
pub use dataset::Dataset;
pub use decode::Turn;
pub use error::{Error, Result};
pub use files::{Pictures, pictures};
pub use layouts::{Known, Layout};
pub use loader::{Batch, Batches, Broken, Loader, LoaderOptions, OnBroken, Sampler};
pub use picture::Picture;
pub use procedural::Task;
pub use regular::{Seen, open_regular};
pub use sample::Sample;
pub use source::Source;
pub use transform::{Fit, NoiseForm, Normalisation, PictureNoise, Transform};
pub use watch::Watch;
