//! The members of a zip archive: the directory is read by the `zip` crate, the members in place.

use std::io::Cursor;

use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::{Member, Packing, clean};

/// How zip archives begin, with members or without.
pub(super) const MAGIC: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// Lists the files.
pub(super) fn index(bytes: &[u8]) -> Result<Vec<Member>, String> {
    let damaged = |e: zip::result::ZipError| format!("it is damaged or truncated ({e})");
    // The offset is known: looking for a displaced archive would search the whole file.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, Cursor::new(bytes)).map_err(damaged)?;
    let mut members = Vec::with_capacity(archive.len());
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(damaged)?;
        let name = String::from_utf8_lossy(file.name_raw());
        let Some(name) = clean(&name).filter(|_| !name.ends_with('/')) else {
            continue;
        };
        if file.encrypted() {
            return Err(format!("its member {name} is encrypted"));
        }
        let (start, packed, size) = (file.data_start(), file.compressed_size(), file.size());
        let end = start.and_then(|start| start.checked_add(packed));
        let Some(start) = start.filter(|_| end.is_some_and(|end| end <= bytes.len() as u64)) else {
            return Err(format!("its member {name} is truncated"));
        };
        let packing = match file.compression() {
            CompressionMethod::Stored if packed == size => Packing::Stored { checksum: file.crc32() },
            CompressionMethod::Deflated => Packing::Deflated { checksum: file.crc32(), packed },
            method => return Err(format!("its member {name} is packed as {method}")),
        };
        members.push(Member { name, start, size, packing });
    }
    Ok(members)
}
