//! Image files to 8-bit RGB, as Pillow's `convert("RGB")` gives it.
//!
//! Grey is replicated, palettes are resolved, alpha is dropped, 16-bit values keep their high byte, CMYK goes through
//! c' = (255 - c)(255 - k) / 255, and of an animation the first frame is taken. An EXIF orientation is ignored unless
//! [`Turn::Upright`] asks for what `ImageOps.exif_transpose` does. There is one departure: Pillow clips 16-bit grey
//! at 255, which makes such pictures white; here they keep their high byte as 16-bit colour does.

use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use engine::budget::{self, Claim};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::{Error, Parsed, Result};
use crate::held::read_bytes;
use crate::regular::open_regular;
use crate::room::beside_others;
use crate::text::shown;

/// The most pixels that a picture may have. A larger one is refused before anything is allocated for it.
pub const MAX_PIXELS: u64 = 100_000_000;
/// The most pixels that a side may have, which is also the limit of the JPEG format.
const MAX_SIDE: u32 = 65_535;
/// The most bytes that an image file may have, and the most that its decoder may allocate.
const MAX_BYTES: u64 = 512 << 20;
/// The most bytes that a decoder may allocate while it reads the header of a png, whose colour profile is compressed. A
/// larger profile is passed over; no profile is used.
const MAX_PROFILE: u64 = 8 << 20;
/// Bytes at the start of a file that usually hold the whole header of an image.
const HEADER: u64 = 64 << 10;
/// Endings of the names of image files, in upper or lower case. How a file is read is decided by its content alone.
pub const EXTENSIONS: [&str; 11] =
    ["jpg", "jpeg", "png", "ppm", "pgm", "pnm", "webp", "bmp", "tif", "tiff", "gif"];
/// Endings of pictures in formats that are not read.
const UNREAD: [&str; 8] = ["avif", "heic", "heif", "jxl", "jp2", "tga", "psd", "svg"];

/// What happens to a picture whose EXIF orientation says that it was taken with a turned camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turn {
    /// It stays as its pixels lie in the file, as in the published program.
    #[default]
    AsStored,
    /// It is turned upright.
    Upright,
}

/// True if the name ends in one of [`EXTENSIONS`].
pub fn is_image_name(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(ending))
}

/// True if the name ends like that of a picture in a format that is not read.
pub(crate) fn is_unread_name(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    UNREAD.iter().any(|e| e.eq_ignore_ascii_case(ending))
}

/// Reads and decodes an image file.
///
/// # Errors
/// A file that is unreadable, damaged, unsupported or too large, with its path.
pub fn read(path: &Path) -> Result<RgbImage> {
    read_turned(path, Turn::AsStored)
}

/// The same, with the EXIF orientation as `turn` says.
///
/// # Errors
/// Those of [`read`].
pub fn read_turned(path: &Path, turn: Turn) -> Result<RgbImage> {
    beside_others(|| {
        let bytes = read_bytes(path, MAX_BYTES)?;
        decode_turned(&bytes, turn).map_err(|what| Error::path(path, what, "replace or remove the file"))
    })
}

/// Decodes the content of an image file.
///
/// # Errors
/// In a few words, what is wrong with the content: damaged, unsupported or too large.
pub fn decode(bytes: &[u8]) -> Parsed<RgbImage> {
    decode_turned(bytes, Turn::AsStored)
}

/// The same, with the EXIF orientation as `turn` says.
///
/// # Errors
/// Those of [`decode`].
pub fn decode_turned(bytes: &[u8], turn: Turn) -> Parsed<RgbImage> {
    // A decoder that panics on a damaged file must not end a run that takes hours.
    catch_unwind(AssertUnwindSafe(|| try_decode(bytes, turn)))
        .unwrap_or_else(|_| Err("its decoder failed".into()))
}

/// Whether an EXIF orientation turns or mirrors an image, from its header.
///
/// # Errors
/// In a few words, what is wrong with the header; a size beyond the limits is wrong too.
pub(crate) fn is_turned(bytes: &[u8]) -> Parsed<bool> {
    let read =
        || open(bytes).map(|mut opened| orientation(&mut opened.decoder, bytes) != Orientation::NoTransforms);
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its decoder failed".into()))
}

/// Checks the header of an image file, and says whether an EXIF orientation turns or mirrors it.
///
/// # Errors
/// An unreadable or unsupported file, or a picture that is too large.
pub(crate) fn check_header(path: &Path) -> Result<bool> {
    let failed = |e: std::io::Error| Error::io(path, "read", &e);
    beside_others(|| {
        let mut start = Vec::new();
        open_regular(path)?.take(HEADER).read_to_end(&mut start).map_err(failed)?;
        // Some headers are longer, such as those with a preview picture.
        if let Ok(turned) = is_turned(&start) {
            return Ok(turned);
        }
        let all = read_bytes(path, MAX_BYTES)?;
        is_turned(&all).map_err(|what| Error::path(path, what, "replace or remove the file"))
    })
}

/// The EXIF orientation. One that cannot be read turns nothing, as in Pillow.
fn orientation(decoder: &mut impl ImageDecoder, bytes: &[u8]) -> Orientation {
    if !exif_is_whole(bytes) {
        return Orientation::NoTransforms;
    }
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// False for a webp whose EXIF chunk ends behind the file. Its decoder would allocate the size that the chunk claims, up
/// to 4 GiB, before it reads it.
fn exif_is_whole(bytes: &[u8]) -> bool {
    let mut at = 12;
    while let Some(&[a, b, c, d, size @ ..]) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>)
        && bytes.starts_with(b"RIFF")
    {
        let size = u32::from_le_bytes(size) as usize;
        let end = at.saturating_add(8).saturating_add(size);
        if [a, b, c, d] == *b"EXIF" && end > bytes.len() {
            return false;
        }
        at = end.saturating_add(size % 2);
    }
    true
}

/// A decoder that has read the header of a picture.
struct Opened<D> {
    decoder: D,
    format: ImageFormat,
    /// What the decoder takes of the budget.
    claim: Claim,
}

/// A decoder that has read the header of a picture, whose size is within the limits.
fn open(bytes: &[u8]) -> Parsed<Opened<impl ImageDecoder + '_>> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
    let format = image::guess_format(bytes).ok();
    // Some formats are known to the decoder's library and not read by it.
    let read = format.filter(|format| [Jpeg, Png, Pnm, WebP, Bmp, Tiff, Gif].contains(format));
    let format = read.ok_or_else(|| not_read(bytes))?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let profile = if format == Png { MAX_PROFILE } else { 0 };
    let claim = budget::claim(profile).map_err(|refused| refused.to_string())?;
    // Only that for png looks at this limit, and it allocates at once.
    reader.limits(limits(MAX_PROFILE));
    let decoder = reader.into_decoder().map_err(one_line)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS || width.max(height) > MAX_SIDE {
        let most = MAX_PIXELS / 1_000_000;
        return Err(format!("is {width}x{height}, the limit is {most} megapixels and {MAX_SIDE} a side"));
    }
    if u64::from(width) * u64::from(height) < 2 {
        return Err(format!("is {width}x{height} pixels, which is no picture"));
    }
    Ok(Opened { decoder, format, claim })
}

/// Limits for a decoder that may allocate so many bytes.
fn limits(bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(bytes);
    limits
}

/// Bytes that decoding takes at most: what the decoder hands out, what it needs beside that, and the copies that are made
/// on the way to 8-bit RGB.
fn needs(decoder: &impl ImageDecoder, format: ImageFormat, file: usize, turned: bool) -> u64 {
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let own = match format {
        // A copy of the file, and the coefficients of a progressive one, of four channels of two bytes.
        ImageFormat::Jpeg => file as u64 + 8 * pixels,
        // Frames with an alpha channel.
        ImageFormat::WebP | ImageFormat::Gif => 8 * pixels,
        // One strip may be the whole picture.
        ImageFormat::Tiff => decoder.total_bytes(),
        _ => 0,
    };
    let copies = u64::from(decoder.color_type() != ColorType::Rgb8) + u64::from(turned);
    decoder.total_bytes().saturating_add(own).saturating_add(copies * 3 * pixels)
}

/// What is wrong with content of no format that is read.
fn not_read(bytes: &[u8]) -> String {
    // Pictures in ISO media files begin with the length of a box, its kind, and a brand.
    let brand = bytes.get(4..12).and_then(|start| start.strip_prefix(b"ftyp"));
    let format = match brand {
        Some(b"avif" | b"avis") => "an avif",
        Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1") => "a heic",
        _ => return "is not a jpeg, png, pnm, webp, bmp, tiff or gif image".into(),
    };
    format!("is {format} image, which is not read: convert it to jpeg or png")
}

/// The message of a decoder, which may repeat what a file holds, at a length that can be read.
fn one_line(e: image::ImageError) -> String {
    const MOST: usize = 300;
    let text = e.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => shown(&text[..end]).into_owned() + "...",
        None => shown(&text).into_owned(),
    }
}

fn try_decode(bytes: &[u8], turn: Turn) -> Parsed<RgbImage> {
    if bytes.starts_with(&[0xFF, 0xD8]) && !jpeg_is_complete(bytes) {
        return Err("the jpeg is truncated".into());
    }
    let Opened { mut decoder, format, mut claim } = open(bytes)?;
    let most = limits(MAX_BYTES);
    most.clone().reserve(decoder.total_bytes()).map_err(|_| {
        format!("needs {} MiB, the limit is {} MiB", decoder.total_bytes() >> 20, MAX_BYTES >> 20)
    })?;
    decoder.set_limits(most).map_err(one_line)?;
    let turned = match turn {
        Turn::AsStored => Orientation::NoTransforms,
        Turn::Upright => orientation(&mut decoder, bytes),
    };
    let needs = needs(&decoder, format, bytes.len(), turned != Orientation::NoTransforms);
    claim.grow(needs).map_err(|refused| refused.to_string())?;
    let image = DynamicImage::from_decoder(decoder).map(to_rgb8).map_err(one_line)?;
    if turned == Orientation::NoTransforms {
        return Ok(image);
    }
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(turned);
    Ok(image.into_rgb8())
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
