//! The members of a zip archive. The `zip` crate reads the directory; the members are read in place.

use std::io::BufReader;

use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::bytes::Bytes;
use super::gzip::MAX_INFLATION;
use super::member::{Listing, Member, Packing};
use crate::error::Parsed;

/// The first bytes of a zip archive, with members and without.
pub(super) const MAGIC: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// Lists the files.
///
/// # Errors
/// A damaged or truncated archive, a member that is encrypted or packed in a way that is not read, members that share
/// bytes, and members that inflate to far more than they should.
pub(super) fn index(bytes: &Bytes) -> Parsed<Listing> {
    let damaged = |e: zip::result::ZipError| format!("it is damaged or truncated ({e})");
    // Giving the offset keeps the crate from searching the whole file for a displaced archive.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, BufReader::new(bytes.reader())).map_err(damaged)?;
    let mut listing = Listing::default();
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(damaged)?;
        let name = String::from_utf8_lossy(file.name_raw());
        listing.count(&name)?;
        if name.ends_with('/') {
            continue;
        }
        let Some(name) = listing.name(&name) else { continue };
        if file.encrypted() {
            return Err(format!("its member {name} is encrypted"));
        }
        let (start, packed, size) = (file.data_start(), file.compressed_size(), file.size());
        let end = start.and_then(|start| start.checked_add(packed));
        let Some(start) = start.filter(|_| end.is_some_and(|end| end <= bytes.length())) else {
            return Err(format!("its member {name} is truncated"));
        };
        let packing = match file.compression() {
            CompressionMethod::Stored if packed == size => Packing::Stored { checksum: file.crc32() },
            CompressionMethod::Deflated => Packing::Deflated { checksum: file.crc32(), packed },
            method => return Err(format!("its member {name} is packed as {method}")),
        };
        listing.members.push(Member { name, start, size, packing });
    }
    apart(&listing.members)?;
    let total = listing.members.iter().fold(0u64, |total, member| total.saturating_add(member.size));
    if inflates_too_far(bytes.length(), total) {
        return Err(format!("it inflates to over {MAX_INFLATION} times its size"));
    }
    Ok(listing)
}

/// Whether `packed` bytes become far more than images do.
pub(super) fn inflates_too_far(packed: u64, size: u64) -> bool {
    size > packed.saturating_add(64 << 10).saturating_mul(MAX_INFLATION)
}

/// Checks that no two members share bytes. What is stored once and listed a thousand times is inflated a thousand times.
fn apart(members: &[Member]) -> Parsed<()> {
    let mut ranges: Vec<(u64, u64, &str)> =
        members.iter().map(|member| (member.start, member.start + member.packed(), &*member.name)).collect();
    ranges.sort_unstable();
    match ranges.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(format!("its members {} and {} share bytes", pair[0].2, pair[1].2)),
        None => Ok(()),
    }
}
