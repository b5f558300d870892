//! Where the picture of a sample comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;

use crate::archive::Archive;
use crate::decode::{self, Turn};
use crate::error::{Error, Parsed, Result};
use crate::held::{Held, read_bytes};
use crate::picture::Picture;
use crate::procedural::Drawn;
use crate::room::beside_others;

/// Where the picture of a sample comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// An image file.
    File(Arc<Path>),
    /// An image file in an archive.
    Archived(ArchivedFile),
    /// A picture of an array file.
    Picture(Picture),
    /// A picture drawn by code.
    Drawn(Drawn),
}

/// A file in an archive that stands for a folder.
#[derive(Debug, Clone)]
pub struct ArchivedFile {
    archive: Arc<Archive>,
    number: u32,
    /// The folder that the archive would be unpacked to.
    at: Arc<Path>,
}

impl Source {
    /// Reads and decodes, or draws, the 8-bit picture.
    ///
    /// # Errors
    /// A file that cannot be read or decoded.
    pub fn load(&self) -> Result<RgbImage> {
        self.load_turned(Turn::AsStored)
    }

    /// The same, with a file's EXIF orientation as `turn` says.
    ///
    /// # Errors
    /// Those of [`Source::load`].
    pub fn load_turned(&self, turn: Turn) -> Result<RgbImage> {
        match self {
            Source::File(path) => decode::read_turned(path, turn),
            Source::Archived(file) => file.decoded(|bytes| decode::decode_turned(bytes, turn)),
            Source::Picture(picture) => Ok(picture.rgb()),
            Source::Drawn(drawn) => Ok(drawn.draw()),
        }
    }

    /// Checks that there is a picture without decoding its pixels, and says whether an EXIF orientation turns it.
    ///
    /// # Errors
    /// A file that cannot be read, or whose header is not that of an image.
    pub fn check_header(&self) -> Result<bool> {
        match self {
            Source::File(path) => decode::check_header(path),
            Source::Archived(file) => file.decoded(decode::is_turned),
            Source::Picture(_) | Source::Drawn(_) => Ok(false),
        }
    }

    /// The archive that it lies in, if it does.
    pub(crate) fn archive(&self) -> Option<&Arc<Archive>> {
        match self {
            Source::Archived(file) => Some(&file.archive),
            _ => None,
        }
    }

    /// The path that the file has, or would have if its archive were unpacked. Pictures without a file of their own
    /// have a number instead of a name.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Source::File(path) => path.to_path_buf(),
            Source::Archived(file) => file.at.join(file.archive.name(file.number)),
            Source::Picture(picture) => picture.to_string().into(),
            Source::Drawn(drawn) => drawn.to_string().into(),
        }
    }

    /// Where it lies in its archive. Reading files in the order of their positions is fastest.
    pub(crate) fn position(&self) -> u64 {
        match self {
            Source::Archived(file) => file.archive.position(file.number),
            _ => 0,
        }
    }

    /// The bytes of a file, which may lie in an archive.
    ///
    /// # Errors
    /// A file that cannot be read, and one of more than `limit` bytes.
    pub(crate) fn bytes(&self, limit: u64) -> Result<Held> {
        match self {
            Source::Archived(file) => {
                let bytes = file.archive.read(file.number).map_err(|what| file.error(what))?;
                if bytes.len() as u64 > limit {
                    return Err(file.error(format!("has over {} MiB", limit >> 20)));
                }
                Ok(bytes)
            }
            _ => read_bytes(&self.path(), limit),
        }
    }
}

impl ArchivedFile {
    /// Member `number` of an archive that would be unpacked to the folder `at`.
    pub(crate) fn new(archive: Arc<Archive>, number: u32, at: Arc<Path>) -> Self {
        ArchivedFile { archive, number, at }
    }

    /// What `decode` makes of the bytes.
    fn decoded<T>(&self, decode: impl Fn(&[u8]) -> Parsed<T>) -> Result<T> {
        let read = || self.archive.read(self.number).and_then(|bytes| decode(&bytes));
        beside_others(read).map_err(|what| self.error(what))
    }

    fn error(&self, what: String) -> Error {
        Error::input(self.to_string(), what, "replace the file in the archive, or get the archive again")
    }
}

impl PartialEq for ArchivedFile {
    fn eq(&self, other: &Self) -> bool {
        self.archive.path() == other.archive.path() && self.number == other.number
    }
}

impl fmt::Display for ArchivedFile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.archive.path().display(), self.archive.name(self.number))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            Source::Archived(file) => file.fmt(f),
            Source::Picture(picture) => picture.fmt(f),
            Source::Drawn(drawn) => drawn.fmt(f),
        }
    }
}
