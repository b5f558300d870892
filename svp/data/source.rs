//! Where the picture of a sample comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;

use super::archive::Archive;
use super::decode;
use super::pixels::Picture;
use super::procedural::Drawn;
use crate::{Error, Result};

/// Where the picture of a sample comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// An image file.
    File(Arc<Path>),
    /// An image file in an archive.
    Member(Member),
    /// A row of an array file.
    Picture(Picture),
    /// A picture drawn by code.
    Drawn(Drawn),
}

/// A file in an archive that stands for a folder.
#[derive(Debug, Clone)]
pub struct Member {
    archive: Arc<Archive>,
    number: u32,
    /// Folder that the archive would be unpacked to.
    at: Arc<Path>,
}

impl Source {
    /// The 8-bit picture.
    ///
    /// # Errors
    /// A file that cannot be read or decoded.
    pub fn load(&self) -> Result<RgbImage> {
        match self {
            Source::File(path) => decode::read(path),
            Source::Member(member) => member.decoded(decode::decode),
            Source::Picture(picture) => Ok(picture.rgb()),
            Source::Drawn(drawn) => Ok(drawn.draw()),
        }
    }

    /// Checks that there is a picture without decoding its pixels.
    ///
    /// # Errors
    /// A file that cannot be read, or whose header is none of an image.
    pub fn check_header(&self) -> Result<()> {
        match self {
            Source::File(path) => decode::check_header(path),
            Source::Member(member) => member.decoded(|bytes| decode::header(bytes).map(|_| ())),
            Source::Picture(_) | Source::Drawn(_) => Ok(()),
        }
    }

    /// The path that the file has, or would have were its archive unpacked. Pictures without a file of their own
    /// are numbered.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Source::File(path) => path.to_path_buf(),
            Source::Member(member) => member.at.join(member.archive.name(member.number)),
            Source::Picture(picture) => picture.to_string().into(),
            Source::Drawn(drawn) => drawn.to_string().into(),
        }
    }

    /// Where it lies in its archive: members that are read in this order are read fastest.
    pub(super) fn position(&self) -> u64 {
        match self {
            Source::Member(member) => member.archive.position(member.number),
            _ => 0,
        }
    }

    /// The bytes of a file of at most `limit` bytes, with or without archive.
    pub(super) fn bytes(&self, limit: u64) -> Result<Vec<u8>> {
        match self {
            Source::Member(member) => {
                let bytes = member.archive.read(member.number).map_err(|what| member.error(what))?;
                if bytes.len() as u64 > limit {
                    return Err(member.error(format!("has over {} MiB", limit >> 20)));
                }
                Ok(bytes.into_owned())
            }
            _ => decode::read_bytes(&self.path(), limit),
        }
    }
}

impl Member {
    pub(super) fn new(archive: Arc<Archive>, number: u32, at: Arc<Path>) -> Self {
        Member { archive, number, at }
    }

    fn decoded<T>(&self, decode: impl Fn(&[u8]) -> std::result::Result<T, String>) -> Result<T> {
        let bytes = self.archive.read(self.number);
        bytes.and_then(|bytes| decode(&bytes)).map_err(|what| self.error(what))
    }

    fn error(&self, what: String) -> Error {
        Error::input(self.to_string(), what, "get the archive again, or unpack it and repair the file")
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.archive.path() == other.archive.path() && self.number == other.number
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.archive.path().display(), self.archive.name(self.number))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            Source::Member(member) => member.fmt(f),
            Source::Picture(picture) => picture.fmt(f),
            Source::Drawn(drawn) => drawn.fmt(f),
        }
    }
}
