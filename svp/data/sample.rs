//! A labelled picture.

use crate::picture::Picture;
use crate::source::Source;

/// One picture and its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Where the picture comes from.
    pub source: Source,
    /// Index into the class names of its data set.
    pub label: u32,
}

impl Sample {
    /// A picture of an array with its class.
    pub(crate) fn picture(picture: Picture, label: u32) -> Self {
        Sample { source: Source::Picture(picture), label }
    }
}
