//! What the list formats share: reading a split file whole, and checking that the images it names exist.

use std::path::{Path, PathBuf};

use super::dataset::Sample;
use super::decode;
use crate::{Error, Result};

/// Most bytes of a split file: a hundred times the largest published one.
const MAX_BYTES: u64 = 256 << 20;

/// The text of a split file.
pub(super) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(decode::read_bytes(path, MAX_BYTES)?)
        .map_err(|_| Error::path(path, "is not UTF-8 text", "check that it is the split file"))
}

/// Turns (path, label) into samples below `base`; one error names the first images that are not there.
pub(super) fn samples(list: &Path, base: &Path, entries: Vec<(String, u32)>) -> Result<Vec<Sample>> {
    let files: Vec<(PathBuf, u32)> =
        entries.into_iter().map(|(name, label)| (base.join(name), label)).collect();
    let missing: Vec<&PathBuf> = files.iter().map(|(path, _)| path).filter(|path| !path.is_file()).collect();
    if !missing.is_empty() {
        let first: Vec<String> = missing.iter().take(3).map(|path| path.display().to_string()).collect();
        let what =
            format!("{} of {} listed images are missing: {}", missing.len(), files.len(), first.join(", "));
        let more = if missing.len() > first.len() { ", ..." } else { "" };
        return Err(Error::path(list, what + more, "unpack the images next to the list"));
    }
    Ok(files.into_iter().map(|(path, label)| Sample::file(path, label)).collect())
}
