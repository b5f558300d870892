//! Images for training: finding them, reading them, changing them, handing them out in batches.
//!
//! - [`dataset`]: a [`Dataset`] is class names and the samples of its splits; [`Dataset::open`] reads an image
//!   folder, VTAB-1k lists or VPT-style JSON splits
//! - [`procedural`]: image tasks drawn by code, [`Dataset::builtin`]
//! - [`decode`], [`resize`], [`transform`]: from a file to the numbers that the published program sees
//! - [`augment`]: random changes of training images, mixed batches
//! - [`loader`]: batches, decoded by threads of its own while the model computes
//!
//! Nothing here keeps random state: the order of an epoch, the augmentation of a sample and the pixels of a
//! drawn picture are functions of (seed, epoch, sample).

pub mod augment;
pub mod dataset;
pub mod decode;
mod folder;
mod json;
mod lists;
pub mod loader;
mod paint;
pub mod procedural;
pub mod resize;
mod scenes;
pub mod transform;
mod vtab;

pub use augment::{Augment, Mix, RandAugment};
pub use dataset::{Dataset, Layout, Sample, Source};
pub use loader::{Batch, Batches, Broken, Loader, LoaderOptions, OnBroken};
pub use procedural::Task;
pub use transform::Transform;

/// Streams of [`engine::Rng`] that belong to this module: the `op` of `Rng::keyed`.
mod stream {
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
