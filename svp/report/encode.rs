//! Pictures as bytes of image files.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

/// A picture as a PNG file, exactly.
pub fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
    encode(picture.into(), ImageFormat::Png)
}

/// A picture as a JPEG file, smaller than a PNG of a photograph.
pub fn jpeg(picture: impl Into<DynamicImage>) -> Vec<u8> {
    encode(picture.into(), ImageFormat::Jpeg)
}

fn encode(picture: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("writing to memory does not fail");
    bytes.into_inner()
}
