//! The open file of an archive.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use crate::error::Parsed;
use crate::held::Held;
use crate::regular::SHORTENED;

/// A file that any number of threads read at positions of their own. It is not mapped: another program that shortened a
/// mapped file would end this one, whereas here it makes an error.
pub(super) struct Bytes {
    file: File,
    /// Bytes of the file when it was opened.
    length: u64,
}

impl Bytes {
    pub fn new(file: File, length: u64) -> Self {
        Bytes { file, length }
    }

    /// Bytes of the file when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Fills `into` with what lies from `at` on.
    ///
    /// # Errors
    /// A file that ends before, and one that cannot be read.
    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, into, at).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => io::Error::other(SHORTENED),
            _ => e,
        })
    }

    /// `length` bytes from `at` on.
    ///
    /// # Errors
    /// Those of [`Bytes::read`], and memory beyond the budget.
    pub fn held(&self, at: u64, length: u64) -> Parsed<Held> {
        let mut held = Held::zeros(length).map_err(|refused| refused.to_string())?;
        self.read(at, held.as_mut()).map_err(|e| e.to_string())?;
        Ok(held)
    }

    /// The first bytes, at most so many.
    pub fn start(&self, most: u64) -> Parsed<Vec<u8>> {
        let mut start = vec![0; self.length.min(most) as usize];
        self.read(0, &mut start).map_err(|e| e.to_string())?;
        Ok(start)
    }

    /// A reader that begins at the first byte.
    pub fn reader(&self) -> Reader<'_> {
        Reader { bytes: self, at: 0 }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, into: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut into: &mut [u8], mut at: u64) -> io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, at)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => {
                into = &mut into[count..];
                at += count as u64;
            }
        }
    }
    Ok(())
}

/// Reads a file from a position of its own.
pub(super) struct Reader<'a> {
    bytes: &'a Bytes,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.bytes.length.saturating_sub(self.at);
        let count = left.min(into.len() as u64) as usize;
        self.bytes.read(self.at, &mut into[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.bytes.length.checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// A piece of the file that moves along it.
pub(super) struct Piece<'a> {
    bytes: &'a Bytes,
    piece: Vec<u8>,
    /// Position of its first byte.
    start: u64,
}

/// The bytes that a piece takes at once.
const PIECE: usize = 128 << 10;
/// The bytes behind a position that a piece holds at least, unless the file ends before.
pub(super) const LEAST: usize = 64 << 10;

impl<'a> Piece<'a> {
    pub fn of(bytes: &'a Bytes) -> Self {
        Piece { bytes, piece: Vec::new(), start: 0 }
    }

    /// What lies from `at` on: to the end of the file, or [`LEAST`] bytes and more.
    ///
    /// # Errors
    /// A file that was shortened, and one that cannot be read.
    pub fn at(&mut self, at: u64) -> Parsed<&[u8]> {
        let left = self.bytes.length.saturating_sub(at);
        let have = (self.start + self.piece.len() as u64).saturating_sub(at);
        if at < self.start || have < left.min(LEAST as u64) {
            self.piece.resize(left.min(PIECE as u64) as usize, 0);
            self.start = at;
            self.bytes.read(at, &mut self.piece).map_err(|e| e.to_string())?;
        }
        Ok(&self.piece[((at - self.start) as usize).min(self.piece.len())..])
    }

    /// Bytes of the whole file.
    pub fn length(&self) -> u64 {
        self.bytes.length
    }
}
