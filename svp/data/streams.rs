//! Numbers of the random streams that this crate draws from: the `op` of [`engine::Rng::keyed`].
//!
//! A number that is in use here must not be used for anything else, or two draws of one run would be the same.

/// Order of the training samples in an epoch, keyed by (seed, epoch).
pub const ORDER: u32 = 0xDA7A_0000;
/// Augmentation of a sample in an epoch, keyed by (seed, epoch, sample).
pub const AUGMENT: u32 = 0xDA7A_0001;
/// Choice of the samples that are held out for validation, keyed by (seed, class).
pub const HOLD_OUT: u32 = 0xDA7A_0002;
/// Mixing of a batch in an epoch, keyed by (seed, epoch, batch).
pub const MIX: u32 = 0xDA7A_0003;
/// Choice of the samples that are held out for test, keyed by (seed, class).
pub const HOLD_OUT_TEST: u32 = 0xDA7A_0004;
/// Draws of an epoch in which all classes are equally likely, keyed by (seed, epoch).
pub const BALANCED: u32 = 0xDA7A_0005;
/// Noise on a picture that is measured on, keyed by (seed, picture).
pub const NOISE: u32 = 0xDA7A_0006;
/// Pixels of the first drawn task, keyed by (split, picture); the number of a task is added to it.
pub const DRAW: u32 = 0xDA7A_0100;
