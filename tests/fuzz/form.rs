//! Brings inputs into the form that a reader asks for before it looks further. A mutation breaks lengths and checksums,
//! and no fuzzer finds the right ones again.

use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};

/// What parts the files of an input that has several.
pub const MARK: &[u8] = b"\n\xFF\xFF\n";
const BLOCK: usize = 512;

/// The parts of an input, at least one.
pub fn parts(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let at = input.windows(MARK.len()).position(|window| window == MARK);
        let (part, rest) = at.map_or((input, None), |at| (&input[..at], Some(&input[at + MARK.len()..])));
        input = rest.unwrap_or_default();
        ended = rest.is_none();
        Some(part)
    })
}

/// A `.safetensors` file: as it is, or with the length put in front where the input begins with the header, which ends at
/// its last brace.
pub fn safetensors(input: &[u8]) -> Vec<u8> {
    match input.iter().rposition(|&byte| byte == b'}') {
        Some(end) if input.starts_with(b"{") => [&(end as u64 + 1).to_le_bytes()[..], input].concat(),
        _ => input.into(),
    }
}

/// A tar whose headers have the right checksums.
pub fn sealed_tar(input: &[u8]) -> Vec<u8> {
    let mut tar = input.to_vec();
    let mut at = 0;
    while let Some(block) = tar.get_mut(at..at + BLOCK) {
        if block.iter().any(|&byte| byte != 0) {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let size = std::str::from_utf8(&block[124..135]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size.trim_matches([' ', '\0']), 8).ok());
        at = at.saturating_add(BLOCK).saturating_add(size.unwrap_or(0).next_multiple_of(BLOCK));
    }
    tar
}

/// A gzip member of these bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3];
    gzip.extend(compress_to_vec(bytes, 1));
    gzip.extend(crc32(bytes).to_le_bytes());
    gzip.extend((bytes.len() as u32).to_le_bytes());
    gzip
}

/// The checksum of gzip, without a table, as inputs are small.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A MATLAB file: as it is where it has its header, else the header with the input as elements. Those behind a `z` are
/// compressed.
pub fn mat(input: &[u8]) -> Vec<u8> {
    if input.starts_with(b"MATLAB") || input.starts_with(b"\x89HDF") {
        return input.into();
    }
    let mut file = b"MATLAB 5.0 MAT-file".to_vec();
    file.resize(124, b' ');
    file.extend([0, 1, b'I', b'M']);
    match input {
        [b'z', elements @ ..] => {
            let packed = compress_to_vec_zlib(elements, 1);
            file.extend(15u32.to_le_bytes());
            file.extend((packed.len() as u32).to_le_bytes());
            file.extend(packed);
        }
        elements => file.extend(elements),
    }
    file
}
