//! Image files to 8-bit RGB, as Pillow's `convert("RGB")` gives it.
//!
//! Grey is replicated, palettes are resolved, alpha is dropped, 16-bit values keep their high byte, CMYK goes through
//! c' = (255 - c)(255 - k) / 255, and an EXIF orientation is ignored. There is one departure: Pillow clips 16-bit grey
//! at 255, which makes such pictures white; here they keep their high byte as 16-bit colour does.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::error::{Error, Parsed, Result};

/// The most pixels that a picture may have. A larger one is refused before anything is allocated for it.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The most pixels that a side may have, which is also the limit of the JPEG format.
const MAX_SIDE: u32 = 65_535;
/// The most bytes that an image file may have, and the most that its decoder may allocate.
const MAX_BYTES: u64 = 512 << 20;
/// Bytes at the start of a file that usually hold the whole header of an image.
const HEADER: u64 = 64 << 10;
/// Endings of the names of image files, in upper or lower case. How a file is read is decided by its content alone.
pub const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "ppm", "pgm", "pnm", "webp"];

/// True if the name ends in one of [`EXTENSIONS`].
pub fn is_image_name(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(ending))
}

/// Reads and decodes an image file.
///
/// # Errors
/// A file that is unreadable, damaged, unsupported or too large, with its path.
pub fn read(path: &Path) -> Result<RgbImage> {
    let bytes = read_bytes(path, MAX_BYTES)?;
    decode(&bytes).map_err(|what| Error::path(path, what, "replace or remove the file"))
}

/// Reads a regular file.
///
/// # Errors
/// An unreadable file, one that is not a regular file, and one of more than `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| Error::io(path, "read", &e);
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::path(path, "is not a regular file", "replace or remove it"));
    }
    if meta.len() > limit {
        let what = format!("has {} MiB, the limit is {} MiB", meta.len() >> 20, limit >> 20);
        return Err(Error::path(path, what, "replace or remove the file"));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Decodes the content of an image file.
///
/// # Errors
/// In a few words, what is wrong with the content: damaged, unsupported or too large.
pub fn decode(bytes: &[u8]) -> Parsed<RgbImage> {
    // A decoder that panics on a damaged file must not end a run that takes hours.
    catch_unwind(AssertUnwindSafe(|| try_decode(bytes))).unwrap_or_else(|_| Err("its decoder failed".into()))
}

/// Width and height of an image in pixels, from its header.
///
/// # Errors
/// In a few words, what is wrong with the header; a size beyond the limits is wrong too.
pub(crate) fn header(bytes: &[u8]) -> Parsed<(u32, u32)> {
    let decoder = catch_unwind(AssertUnwindSafe(|| open(bytes).map(|decoder| decoder.dimensions())));
    decoder.unwrap_or_else(|_| Err("its decoder failed".into()))
}

/// Checks the header of an image file.
///
/// # Errors
/// An unreadable or unsupported file, or a picture that is too large.
pub(crate) fn check_header(path: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(path, "read", &e);
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(HEADER).read_to_end(&mut start).map_err(failed)?;
    // Some headers are longer, such as those with a preview picture.
    if header(&start).is_ok() {
        return Ok(());
    }
    let all = read_bytes(path, MAX_BYTES)?;
    header(&all).map(|_| ()).map_err(|what| Error::path(path, what, "replace or remove the file"))
}

/// A decoder that has read the header of a picture, whose size is within the limits.
fn open(bytes: &[u8]) -> Parsed<impl ImageDecoder + '_> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let format =
        image::guess_format(bytes).map_err(|_| "is not a jpeg, png, pnm or webp image".to_string())?;
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let decoder = reader.into_decoder().map_err(one_line)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || width.max(height) > MAX_SIDE {
        let most = MAX_PIXELS / 1_000_000;
        return Err(format!("is {width}x{height}, the limit is {most} megapixels and {MAX_SIDE} a side"));
    }
    if u64::from(width) * u64::from(height) < 2 {
        return Err(format!("is {width}x{height} pixels, which is no picture"));
    }
    Ok(decoder)
}

fn one_line(e: image::ImageError) -> String {
    e.to_string().replace(['\n', '\r'], " ")
}

fn try_decode(bytes: &[u8]) -> Parsed<RgbImage> {
    if bytes.starts_with(&[0xFF, 0xD8]) && !jpeg_is_complete(bytes) {
        return Err("the jpeg is truncated".into());
    }
    let mut decoder = open(bytes)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    limits.reserve(decoder.total_bytes()).map_err(|_| {
        format!("needs {} MiB, the limit is {} MiB", decoder.total_bytes() >> 20, MAX_BYTES >> 20)
    })?;
    decoder.set_limits(limits).map_err(one_line)?;
    DynamicImage::from_decoder(decoder).map(to_rgb8).map_err(one_line)
}

fn to_rgb8(image: DynamicImage) -> RgbImage {
    let high = |v: u16| (v >> 8) as u8;
    let (width, height) = (image.width(), image.height());
    let grey = |luma: &mut dyn Iterator<Item = u16>| luma.flat_map(|v| [high(v); 3]).collect();
    let colour =
        |rgb: &mut dyn Iterator<Item = &[u16]>| rgb.flat_map(|p| [p[0], p[1], p[2]].map(high)).collect();
    let bytes: Vec<u8> = match &image {
        DynamicImage::ImageLuma16(i) => grey(&mut i.as_raw().iter().copied()),
        DynamicImage::ImageLumaA16(i) => grey(&mut i.as_raw().chunks_exact(2).map(|p| p[0])),
        DynamicImage::ImageRgb16(i) => colour(&mut i.as_raw().chunks_exact(3)),
        DynamicImage::ImageRgba16(i) => colour(&mut i.as_raw().chunks_exact(4)),
        _ => return image.into_rgb8(),
    };
    RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel")
}

/// True if an end-of-image marker follows the start of the first scan. Pillow refuses truncated files, whereas the
/// decoder used here silently fills what is missing with grey.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    let mut at = 2;
    while let Some(&[marker, kind, high, low]) = bytes.get(at..at + 4) {
        if marker != 0xFF {
            break;
        }
        if kind == START_OF_SCAN {
            // The search goes backwards because the marker is close to the end.
            return bytes[at..].windows(2).rev().any(|w| w == [0xFF, 0xD9]);
        }
        // A fill byte may come before a marker; otherwise a segment and its length follow.
        at += if kind == 0xFF { 1 } else { 2 + usize::from(u16::from_be_bytes([high, low])) };
    }
    // This is not a plain chain of segments, so it is left to the decoder to judge.
    true
}

#[cfg(test)]
mod tests;
