//! Images for training: finding them, reading them, changing them, handing them out in batches.
//!
//! - [`dataset`]: a [`Dataset`] is class names and the samples of its splits; [`Dataset::open`] reads an image
//!   folder, lists, splits or a published data set, in folders or in archives as downloaded
//! - [`layouts`]: a reader for each of these; [`archive`]: tar, tar.gz and zip, read in place; [`check()`]
//! - [`procedural`]: image tasks drawn by code, [`Dataset::builtin`]
//! - [`decode`], [`resize`], [`transform`]: from a file to the numbers that the published program sees
//! - [`augment`]: random changes of training images, mixed batches
//! - [`loader`]: batches, decoded by threads of its own while the model computes
//!
//! Nothing here keeps random state: the order of an epoch, the augmentation of a sample and the pixels of a
//! drawn picture are functions of (seed, epoch, sample).

pub mod archive;
pub mod augment;
mod check;
pub mod dataset;
pub mod decode;
mod files;
pub mod layouts;
pub mod loader;
mod mat;
mod paint;
mod pixels;
pub mod procedural;
pub mod resize;
mod scenes;
mod shuffle;
mod source;
#[cfg(test)]
mod testing;
pub mod transform;

pub use augment::{Augment, Mix, RandAugment};
pub use check::{Check, CheckedSplit, Problem, check};
pub use dataset::{Dataset, Sample};
pub use layouts::{Known, Layout};
pub use loader::{Batch, Batches, Broken, Loader, LoaderOptions, OnBroken};
pub use procedural::Task;
pub use source::Source;
pub use transform::{Normalisation, Transform};

/// Streams of [`engine::Rng`] that belong to this module: the `op` of `Rng::keyed`.
pub mod stream {
    /// Order of the training samples of an epoch.
    pub const ORDER: u32 = 0xDA7A_0000;
    /// Augmentation of a sample in an epoch.
    pub const AUGMENT: u32 = 0xDA7A_0001;
    /// Mixing of a batch in an epoch.
    pub const MIX: u32 = 0xDA7A_0003;
    /// Choice of the samples held out for validation.
    pub const HOLD_OUT: u32 = 0xDA7A_0002;
    /// Pixels of the drawn tasks; the number of the task is added.
    pub const DRAW: u32 = 0xDA7A_0100;
}
