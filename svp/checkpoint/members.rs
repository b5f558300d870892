//! The members of a zip archive in memory: those of `torch.save` and of `numpy.savez`.

use std::io::Cursor;
use std::sync::Arc;

use data::mapped::Mmap;
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::entry::Bytes;
use super::fault::Fault;

/// The first bytes of a zip file.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// Compressed members may inflate to this many times the file in all. Weights hardly compress, while zip bombs do.
const MAX_INFLATION: usize = 16;

/// An open archive.
pub(super) struct Members<'m> {
    map: &'m Arc<Mmap>,
    zip: ZipArchive<Cursor<&'m [u8]>>,
    /// Bytes that may still be inflated.
    budget: usize,
}

impl<'m> Members<'m> {
    /// Reads the directory of the archive.
    ///
    /// # Errors
    /// A damaged archive.
    pub fn open(map: &'m Arc<Mmap>) -> Result<Self, Fault> {
        // The offset is given, because looking for a displaced archive would search the whole file.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(&map[..]))
            .map_err(|e| Fault::damaged(format!("is no whole zip archive ({e})")))?;
        Ok(Members { map, zip, budget: map.len().saturating_mul(MAX_INFLATION) })
    }

    /// Names of the members that are UTF-8.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.zip.file_names_raw().filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// Whether there is a member of this name.
    pub fn has(&self, path: &str) -> bool {
        self.zip.index_for_name_raw(path.as_bytes()).is_some()
    }

    /// The bytes of a member, in place where it is stored and inflated where it is compressed.
    ///
    /// # Errors
    /// A member that is not there, is encrypted or damaged, or inflates beyond the limit.
    pub fn read(&mut self, path: &str) -> Result<Bytes, Fault> {
        let index = self.zip.index_for_name_raw(path.as_bytes());
        let index = index.ok_or_else(|| Fault::damaged(format!("has no member {path}")))?;
        let broken = |e: &dyn std::fmt::Display| Fault::damaged(format!("member {path}: {e}"));
        let member = self.zip.by_index_raw(index).map_err(|e| broken(&e))?;
        let size = usize::try_from(member.size()).map_err(|e| broken(&e))?;
        if member.encrypted() {
            return Err(Fault::new(format!("member {path} is encrypted"), "decrypt the archive first"));
        }
        if member.compression() == CompressionMethod::Stored {
            let start = member.data_start().and_then(|start| usize::try_from(start).ok());
            return Bytes::part(self.map, start.ok_or_else(|| broken(&"no data"))?, size);
        }
        drop(member);
        self.budget = self.budget.checked_sub(size).ok_or_else(|| {
            Fault::new(
                format!("member {path} inflates to {size} bytes, over {MAX_INFLATION} times the file"),
                "write the checkpoint uncompressed, as torch.save and numpy.savez do",
            )
        })?;
        let reader = self.zip.by_index(index).map_err(|e| broken(&e))?;
        Bytes::read(reader, size).map_err(|fault| fault.at(&format!("member {path}")))
    }
}
