use std::fs;
use std::path::PathBuf;

use engine::Rng;

use super::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/decode")
}

/// Beside every file `X` lies an `X.want.ppm`, which `make_decode.py` wrote: what Pillow 13.0.0 gives for
/// `open(X).convert("RGB")`; and beside one with an EXIF orientation `X.upright.ppm`, what `ImageOps.exif_transpose` gives.
#[test]
fn every_kind_of_file_decodes_as_pillow_does() {
    let mut seen = 0;
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if name.ends_with(".want.ppm") || name.ends_with(".upright.ppm") {
            continue;
        }
        let upright = golden().join(format!("{name}.upright.ppm"));
        let turned = upright.exists();
        assert_eq!(check_header(&path).unwrap(), turned, "{name}");
        let upright = if turned { upright } else { golden().join(format!("{name}.want.ppm")) };
        compare(&name, &read_turned(&path, Turn::Upright).unwrap(), &upright);
        compare(&name, &read(&path).unwrap(), &golden().join(format!("{name}.want.ppm")));
        seen += 1;
    }
    assert_eq!(seen, 32);
}

/// Checks that a picture is that of a golden file.
fn compare(name: &str, got: &RgbImage, want: &Path) {
    let want = read(want).unwrap();
    assert_eq!(got.dimensions(), want.dimensions(), "{name}");
    let worst = got.as_raw().iter().zip(want.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    let most = match name {
        // The inverse transform and the chroma filter differ from those of libjpeg and libwebp.
        lossy if lossy.ends_with(".jpg") || lossy == "lossy.webp" => 5,
        // Values of a scale other than 255 are truncated, not rounded.
        "maxval.pgm" | "maxval.ppm" => 1,
        _ => 0,
    };
    assert!(worst <= most, "{name}: {worst} levels");
}

/// 16-bit grey keeps its high byte, where Pillow clips at 255.
#[test]
fn sixteen_bit_grey_keeps_its_high_byte() {
    let grey =
        DynamicImage::ImageLuma16(image::ImageBuffer::from_fn(3, 1, |x, _| image::Luma([x as u16 * 1000])));
    let mut bytes = Vec::new();
    grey.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    assert_eq!(decode(&bytes).unwrap().into_raw(), [0, 0, 0, 3, 3, 3, 7, 7, 7]);
}

#[test]
fn content_decides_not_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("really_a_png.JPG");
    fs::copy(golden().join("rgba.png"), &path).unwrap();
    assert!(is_image_name(&path));
    assert_eq!(read(&path).unwrap().dimensions(), (10, 12));
    assert!(!is_image_name(Path::new("png")) && !is_image_name(Path::new("a.txt")));
}

#[test]
fn one_pixel_is_no_picture() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Pnm, ImageFormat::WebP] {
        let encoded = |width| {
            let mut bytes = Vec::new();
            let image = RgbImage::from_pixel(width, 1, image::Rgb([255; 3]));
            image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
            bytes
        };
        assert!(decode(&encoded(1)).unwrap_err().contains("1x1"), "{format:?}");
        assert_eq!(decode(&encoded(2)).unwrap().into_raw(), [255; 6], "{format:?}");
    }
}

/// Headers that promise far more than the file holds: refused by their size, before any pixel is allocated.
#[test]
fn huge_images_are_refused_by_their_header() {
    let mut png = fs::read(golden().join("rgba.png")).unwrap();
    png[16..20].copy_from_slice(&20_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&20_000u32.to_be_bytes());
    let sum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    let mut jpeg = fs::read(golden().join("colour.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x4E, 0x20, 0x4E, 0x20]);
    let ppm = b"P6 20000 20000 255\n".to_vec();
    for bytes in [png, jpeg, ppm] {
        let reason = decode(&bytes).unwrap_err();
        assert!(reason.contains("20000x20000") && reason.contains("100 megapixels"), "{reason}");
    }
    let reason = decode(b"P5 1000000 1 255\n").unwrap_err();
    assert!(reason.contains("65535 a side"), "{reason}");
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

#[test]
fn truncated_empty_and_foreign_files_are_refused() {
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert!(decode(&bytes[..bytes.len() / 2]).is_err(), "{}", path.display());
    }
    assert!(decode(b"").unwrap_err().contains("empty"));
    assert!(decode(b"GIF89a\x01\x00\x01\x00").is_err());
    assert!(decode(b"hello").unwrap_err().contains("not a jpeg"));
    for (brand, name) in [("avif", "an avif"), ("heic", "a heic"), ("mif1", "a heic")] {
        let reason = decode(format!("\0\0\0\x20ftyp{brand}\0\0\0\0").as_bytes()).unwrap_err();
        assert_eq!(reason, format!("is {name} image, which is not read: convert it to jpeg or png"));
    }
    let missing = read(Path::new("no/such.png")).unwrap_err().to_string();
    assert!(missing.contains("no/such.png") && missing.contains("check the path"), "{missing}");
    assert!(read(&golden()).is_err(), "a folder");
}

/// Damaged files give an error or a picture, never a panic and never one of another size than its header.
#[test]
fn mutated_files_do_no_harm() {
    let files: Vec<PathBuf> = fs::read_dir(golden()).unwrap().map(|e| e.unwrap().path()).collect();
    for case in 0..600u32 {
        let mut rng = Rng::keyed(5, 0, case, 0);
        let mut bytes = fs::read(&files[case as usize % files.len()]).unwrap();
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(bytes.len() as u32) as usize;
            bytes[at] = rng.next_u32() as u8;
        }
        bytes.truncate(bytes.len() - rng.below(3) as usize);
        // `try_decode` panics where `decode` would catch it.
        if let Ok(image) = try_decode(&bytes, Turn::Upright) {
            assert_eq!(image.as_raw().len() as u64, 3 * u64::from(image.width()) * u64::from(image.height()));
        }
    }
}

/// A profile of a few bytes may inflate to any size. None is used, so a large one is passed over.
#[test]
fn a_colour_profile_is_bounded() {
    let whole = fs::read(golden().join("rgba.png")).unwrap();
    let with_profile = |bytes: usize| {
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(&vec![0; bytes], 6);
        let chunk = [b"iCCPname\0\0", &packed[..]].concat();
        let length = (chunk.len() as u32 - 4).to_be_bytes();
        // Behind the signature and the header.
        [&whole[..33], &length, &chunk, &crc32(&chunk).to_be_bytes(), &whole[33..]].concat()
    };
    let profile =
        |file: &[u8]| open(file).unwrap().decoder.icc_profile().unwrap().map(|profile| profile.len());
    assert_eq!(profile(&with_profile(1000)), Some(1000));
    let bomb = with_profile(MAX_PROFILE as usize + 1);
    assert!(bomb.len() < 100_000 && profile(&bomb).is_none());
    assert_eq!(decode(&bomb), decode(&whole));
}

/// Values of 16 bits are in memory twice as large, and then once more as 8-bit RGB.
#[test]
fn what_decoding_needs_is_known_before() {
    let needed = |image: DynamicImage, format, turned| {
        let mut bytes = Vec::new();
        image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        let opened = open(&bytes).unwrap();
        needs(&opened.decoder, opened.format, bytes.len(), turned)
            - bytes.len() as u64 * u64::from(format == ImageFormat::Jpeg)
    };
    use ImageFormat::{Jpeg, Png, Tiff, WebP};
    let rgb = || DynamicImage::new_rgb8(10, 10);
    assert_eq!(needed(rgb(), Png, false), 300);
    assert_eq!(needed(rgb(), Png, true), 600);
    assert_eq!(needed(DynamicImage::new_rgba16(10, 10), Png, false), 800 + 300);
    assert_eq!(needed(rgb(), Jpeg, false), 300 + 800);
    assert_eq!(needed(rgb(), WebP, false), 300 + 800);
    assert_eq!(needed(rgb(), Tiff, false), 300 + 300);
}

#[test]
fn the_exif_of_a_webp_that_ends_behind_the_file_is_not_read() {
    let chunk = |kind: &[u8], size: u32, bytes: &[u8]| [kind, &size.to_le_bytes(), bytes].concat();
    let webp =
        |exif: Vec<u8>| [chunk(b"RIFF", 4 + 9 + exif.len() as u32, b"WEBPVP8X\x01\0\0\0a\0"), exif].concat();
    assert!(exif_is_whole(&webp(chunk(b"EXIF", 2, b"MM"))));
    assert!(!exif_is_whole(&webp(chunk(b"EXIF", 0x8E8E_8E1A, b"MM"))));
    assert!(exif_is_whole(b"P6 2 1 255\nabcdef") && exif_is_whole(b"RIFF"));
}
