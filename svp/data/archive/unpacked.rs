//! Tars that are compressed by xz or bzip2. Neither can be entered in the middle, so such an archive is unpacked once,
//! when it is opened, into a temporary file that has no name and is gone when the program ends.

use std::io::{self, BufReader, BufWriter, Read, Write};

use bzip2::read::MultiBzDecoder;
use lzma_rust2::XzReader;

use super::bytes::Bytes;
use crate::error::Parsed;

/// The first bytes of an xz stream.
const XZ: &[u8] = b"\xFD7zXZ\0";
/// The first bytes of a bzip2 stream; the size of its blocks, a digit, follows.
const BZIP2: &[u8] = b"BZh";
/// The most bytes that one byte of the file may unpack to. Images hardly shrink; bombs do.
const MAX_INFLATION: u64 = 200;

/// The unpacked content of a file that is compressed by xz or bzip2; `None` for another file.
///
/// # Errors
/// A damaged or truncated file, one that unpacks to far more than it should, and a full disk.
pub(super) fn unpacked(bytes: &Bytes) -> Parsed<Option<Bytes>> {
    let start = bytes.start(XZ.len() as u64)?;
    let reader = BufReader::with_capacity(1 << 20, bytes.reader());
    if start == XZ {
        unpack(XzReader::new(reader, true), bytes.length()).map(Some)
    } else if start.starts_with(BZIP2) {
        unpack(MultiBzDecoder::new(reader), bytes.length()).map(Some)
    } else {
        Ok(None)
    }
}

fn unpack(mut reader: impl Read, length: u64) -> Parsed<Bytes> {
    let most = (length + (64 << 10)).saturating_mul(MAX_INFLATION);
    let no_room = |e: io::Error| {
        format!("cannot be unpacked to {}: {e}; TMPDIR names another place", std::env::temp_dir().display())
    };
    let file = tempfile::tempfile().map_err(no_room)?;
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    let (mut piece, mut total) = (vec![0; 1 << 20], 0);
    loop {
        let count = reader.read(&mut piece).map_err(|e| format!("it is damaged or truncated ({e})"))?;
        if count == 0 {
            break;
        }
        total += count as u64;
        if total > most {
            return Err(format!("it unpacks to over {MAX_INFLATION} times its size"));
        }
        out.write_all(&piece[..count]).map_err(no_room)?;
    }
    out.flush().map_err(no_room)?;
    drop(out);
    Ok(Bytes::new(file, total))
}
