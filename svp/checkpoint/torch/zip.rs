//! The zip form of PyTorch 1.6 and later: `NAME/data.pkl` and one member `NAME/data/KEY` for each storage.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use data::mapped::Mmap;
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::state_dict::model_entries;
use crate::checkpoint::choice::Weights;
use crate::checkpoint::entry::{Bytes, Entries};
use crate::checkpoint::fault::Fault;
use data::pickle::Pickle;

/// The first bytes of a zip file.
pub(in crate::checkpoint) const MAGIC: &[u8] = b"PK\x03\x04";

/// Compressed members may inflate to this many times the file in all. Weights hardly compress, while zip bombs do.
const MAX_INFLATION: usize = 16;

pub(in crate::checkpoint) fn read(
    map: &Arc<Mmap>,
    wanted: Option<Weights>,
) -> Result<(Entries, Option<String>), Fault> {
    let mut archive = Archive::open(map)?;
    let pickled = archive.member("data.pkl")?;
    let pickle = Pickle::read(pickled.as_slice(), 0).map_err(|e| Fault::from(e).at("data.pkl"))?;
    if archive.has("byteorder") && archive.member("byteorder")?.as_slice() != b"little" {
        return Err(Fault::new("was written on a big-endian machine", "save it on a little-endian one"));
    }
    let mut storages = HashMap::new();
    model_entries(&pickle, wanted, |storage| {
        if let Some(bytes) = storages.get(storage.key) {
            return Ok(Bytes::clone(bytes));
        }
        let bytes = archive.member(&format!("data/{}", storage.key))?;
        if bytes.as_slice().len() < storage.len()? {
            let (have, want) = (bytes.as_slice().len(), storage.len()?);
            return Err(Fault::damaged(format!("storage {} has {have} of {want} bytes", storage.key)));
        }
        storages.insert(storage.key, bytes.clone());
        Ok(bytes)
    })
}

struct Archive<'m> {
    map: &'m Arc<Mmap>,
    zip: ZipArchive<Cursor<&'m [u8]>>,
    /// Folder in the archive that holds everything, with its slash.
    root: String,
    /// Bytes that may still be inflated.
    budget: usize,
}

impl<'m> Archive<'m> {
    fn open(map: &'m Arc<Mmap>) -> Result<Self, Fault> {
        // The offset is given, because looking for a displaced archive would search the whole file.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(&map[..]))
            .map_err(|e| Fault::damaged(format!("is no whole zip archive ({e})")))?;
        let names = zip.file_names_raw().filter_map(|name| std::str::from_utf8(name).ok());
        let roots = names.filter_map(|name| name.strip_suffix("data.pkl"));
        let root = roots.filter(|root| root.is_empty() || root.ends_with('/')).min_by_key(|root| root.len());
        let root = root.ok_or_else(|| {
            Fault::new("is a zip archive without data.pkl", "give a checkpoint written by torch.save")
        })?;
        let root = root.to_owned();
        Ok(Archive { map, zip, root, budget: map.len().saturating_mul(MAX_INFLATION) })
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name_raw(format!("{}{name}", self.root).as_bytes()).is_some()
    }

    /// The bytes of a member, in place where it is stored and inflated where it is compressed.
    fn member(&mut self, name: &str) -> Result<Bytes, Fault> {
        let path = format!("{}{name}", self.root);
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
                "write the checkpoint uncompressed, as torch.save does",
            )
        })?;
        let reader = self.zip.by_index(index).map_err(|e| broken(&e))?;
        Bytes::read(reader, size).map_err(|fault| fault.at(&format!("member {path}")))
    }
}
