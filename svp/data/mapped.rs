//! Mapped files. This is the only module of the program that maps a file, and the only one of this crate that may use
//! `unsafe`.

use std::fs::File;
use std::path::Path;

use memmap2::MmapMut;

pub use memmap2::Mmap;

use crate::error::{Error, Result};

/// Maps a whole file for reading.
///
/// No program may shorten or rewrite the file in place while the mapping lives. Replacing it by renaming another file
/// over it is safe.
///
/// # Errors
/// A file that cannot be opened or mapped.
pub fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", &e))?;
    // SAFETY: the mapping is only read. Another program that shortens or rewrites the file meanwhile would break what
    // is read, as it would with any mapped file; the documentation above forbids it.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "map", &e))
}

/// Maps a whole file that has no name, so that no other program can change it.
///
/// # Errors
/// A file that cannot be mapped.
pub(crate) fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is only read, and no other program has the file.
    unsafe { Mmap::map(file) }
}

/// A page-aligned copy of `bytes` in memory, for what otherwise reads a mapped file. `name` is for messages.
///
/// # Errors
/// Memory that cannot be had.
pub fn copy(bytes: &[u8], name: &Path) -> Result<Mmap> {
    let failed = |e: std::io::Error| Error::io(name, "map memory", &e);
    let mut map = MmapMut::map_anon(bytes.len()).map_err(failed)?;
    map.copy_from_slice(bytes);
    map.make_read_only().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_copies_hold_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, b"some bytes").unwrap();
        assert_eq!(&*map(&path).unwrap(), b"some bytes");
        assert_eq!(&*copy(b"some bytes", &path).unwrap(), b"some bytes");
        let missing = map(&folder.path().join("none.bin")).unwrap_err().to_string();
        assert!(missing.contains("none.bin: cannot open") && missing.contains("check the path"), "{missing}");
        assert!(copy(b"", &path).unwrap().is_empty());
    }
}
