//! A labelled picture.

use image::RgbImage;

use crate::decode::Turn;
use crate::error::Result;
use crate::picture::Picture;
use crate::source::Source;

/// One picture and its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Where the picture comes from.
    pub source: Source,
    /// Index into the class names of its data set.
    pub label: u32,
    /// What happens to a picture that was taken with a turned camera.
    pub turn: Turn,
}

impl Sample {
    /// A picture with its class, as it is stored.
    pub fn new(source: Source, label: u32) -> Self {
        Sample { source, label, turn: Turn::AsStored }
    }

    /// A picture of an array with its class.
    pub(crate) fn picture(picture: Picture, label: u32) -> Self {
        Sample::new(Source::Picture(picture), label)
    }

    /// Reads and decodes, or draws, the 8-bit picture.
    ///
    /// # Errors
    /// A file that cannot be read or decoded.
    pub fn load(&self) -> Result<RgbImage> {
        self.source.load_turned(self.turn)
    }
}
