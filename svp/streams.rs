//! The number of every random stream of a run, in one place.
//!
//! A stream is the `op` of [`engine::Rng::keyed`]: two uses of randomness with different numbers never share a value.
//! The streams of reading and changing images belong to the data crate and are listed here as [`DATA`].

use std::ops::Range;

/// Initial values of a backbone that is trained from scratch; one stream a parameter follows.
pub const BACKBONE_INIT: u32 = 0x1217_0000;
/// Initial values of a head; one stream a parameter follows.
pub const HEAD_INIT: u32 = 0x4EAD_0000;
/// Initial values of a method's own parameters; one stream a parameter follows.
pub const METHOD_INIT: u32 = 0x5E1E_0000;
/// The order in which cached features are seen.
pub const FEATURE_ORDER: u32 = 0xFEA7_0000;
/// Stochastic depth; the number of the block is added.
pub const DROP_PATH: u32 = 0xD809_0000;
/// What a method draws in its survey; the number of a layer may be added.
pub const SURVEY: u32 = 0x50B7_0000;
/// The keys of prompt dropout, one a sample.
pub const PROMPT_DROPOUT: u32 = 0x9120_0000;
/// Order, augmentation and mixing of images, drawn tasks and held-out splits (`svp/data`).
pub const DATA: Range<u32> = 0xDA7A_0000..0xDA7B_0000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::streams as stream;

    /// Each of ours has 65,536 numbers to itself, more than a model has parameters or blocks.
    #[test]
    fn no_two_streams_meet() {
        let ours = [
            BACKBONE_INIT,
            HEAD_INIT,
            METHOD_INIT,
            FEATURE_ORDER,
            DROP_PATH,
            SURVEY,
            PROMPT_DROPOUT,
            DATA.start,
        ];
        for (i, a) in ours.iter().enumerate() {
            assert_eq!(a & 0xFFFF, 0, "{a:#x}");
            assert!(ours[..i].iter().all(|b| a >> 16 != b >> 16), "{a:#x}");
        }
        let data = [
            stream::ORDER,
            stream::AUGMENT,
            stream::HOLD_OUT,
            stream::MIX,
            stream::HOLD_OUT_TEST,
            stream::BALANCED,
            stream::NOISE,
            stream::DRAW,
        ];
        for (i, number) in data.iter().enumerate() {
            assert!(DATA.contains(number) && !data[..i].contains(number), "{number:#x}");
        }
    }
}
