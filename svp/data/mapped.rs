//! Whole files in page-aligned memory, which tensors can share. No file is mapped: another program that shortened a
//! mapped file would end this one without a word.

use std::io::{ErrorKind, Read};
use std::path::Path;

pub use engine::Mmap;
use engine::budget;

use crate::error::{Error, Result};
use crate::regular::{Seen, open_regular};

/// Reads a whole regular file into memory.
///
/// # Errors
/// A file that cannot be opened or read, one that is too large for the budget, and one that another program shortens
/// meanwhile.
pub fn map(path: &Path) -> Result<Mmap> {
    let mut file = open_regular(path)?;
    let seen = Seen::of(path, &file)?;
    let claim = budget::claim(seen.length()).map_err(|refused| Error::refused(path, refused))?;
    let read = |bytes: &mut [u8]| file.read_exact(bytes);
    Mmap::filled(claim, seen.length() as usize, read).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => seen.shortened(),
        _ => Error::io(path, "read", &e),
    })
}

/// A page-aligned copy of `bytes` in memory, for what otherwise reads a whole file. `name` is for messages.
///
/// # Errors
/// Memory that cannot be had.
pub fn copy(bytes: &[u8], name: &Path) -> Result<Mmap> {
    let claim = budget::claim(bytes.len() as u64).map_err(|refused| Error::refused(name, refused))?;
    let write = |memory: &mut [u8]| {
        memory.copy_from_slice(bytes);
        Ok(())
    };
    Mmap::filled(claim, bytes.len(), write).map_err(|e| Error::io(name, "get memory", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_copies_hold_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, b"some bytes").unwrap();
        let map = map(&path).unwrap();
        std::fs::write(&path, b"").unwrap();
        assert_eq!(&*map, b"some bytes");
        assert_eq!(&*copy(b"some bytes", &path).unwrap(), b"some bytes");
        assert!(super::map(&path).unwrap().is_empty());
        assert!(copy(b"", &path).unwrap().is_empty());
        let missing = super::map(&folder.path().join("none.bin")).unwrap_err().to_string();
        assert!(missing.contains("none.bin: cannot open") && missing.contains("check the path"), "{missing}");
    }

    /// A sparse file takes no room on the disk, whatever its length.
    #[test]
    fn a_file_beyond_the_budget_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge.bin");
        std::fs::File::create(&path).unwrap().set_len(1 << 43).unwrap();
        let told = map(&path).unwrap_err().to_string();
        assert!(
            told.contains("huge.bin: needs 8388608 MiB of memory") && told.contains("--max-memory"),
            "{told}"
        );
    }
}
