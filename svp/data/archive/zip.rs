//! The members of a zip archive. The `zip` crate reads the directory; the members are read in place.

use std::io::Cursor;

use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::member::{Listing, Member, Packing};
use crate::error::Parsed;

/// The first bytes of a zip archive, with members and without.
pub(super) const MAGIC: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// Lists the files.
///
/// # Errors
/// A damaged or truncated archive, and a member that is encrypted or packed in a way that is not read.
pub(super) fn index(bytes: &[u8]) -> Parsed<Listing> {
    let damaged = |e: zip::result::ZipError| format!("it is damaged or truncated ({e})");
    // Giving the offset keeps the crate from searching the whole file for a displaced archive.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, Cursor::new(bytes)).map_err(damaged)?;
    let mut listing = Listing::default();
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(damaged)?;
        let name = String::from_utf8_lossy(file.name_raw());
        if name.ends_with('/') {
            continue;
        }
        let Some(name) = listing.name(&name) else { continue };
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
        listing.members.push(Member { name, start, size, packing });
    }
    Ok(listing)
}
