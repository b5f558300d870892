//! Archives as downloaded, read in place: `.tar`, `.tar.gz`, `.tgz` and `.zip`; `.tar.xz` and `.tar.bz2` are unpacked to
//! a temporary file first, because they cannot be entered in the middle.
//!
//! The members are listed once; after that any number of threads can read any of them, each at its own position in the
//! open file. Members of a `.tar` and stored members of a `.zip` are read as they lie there, deflated members are
//! inflated one by one, and a compressed `.tar` is entered at the nearest restart point (the `gzip` module). What a
//! hostile archive can make the program allocate is bounded by a small multiple of its size, for a member by
//! [`MAX_MEMBER`], and in all by the budget of memory.

use std::fmt;
use std::path::Path;

use engine::budget::Claim;
use miniz_oxide::inflate::decompress_slice_iter_to_slice as inflate;

use crate::error::{Error, Parsed, Result};
use crate::held::Held;
use crate::regular::{Seen, open_regular};

mod bytes;
mod gzip;
mod member;
mod tar;
#[cfg(test)]
mod tests;
mod unpacked;
mod zip;

use bytes::Bytes;
pub(crate) use member::FolderEntry;
use member::{Listing, Member, Packing};

/// The most bytes that a member may have to be read.
pub const MAX_MEMBER: u64 = 512 << 20;
/// Endings of the names of archives, in upper or lower case.
const ENDINGS: [&str; 8] = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip"];

/// True if the name ends like that of an archive.
pub fn is_archive_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("").to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The name without the ending of an archive.
pub fn stem(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let ending = ENDINGS.iter().find(|ending| lower.ends_with(*ending));
    ending.map_or(name, |ending| &name[..name.len() - ending.len()])
}

/// An open archive.
pub struct Archive {
    /// The file as it was when it was opened.
    seen: Seen,
    /// What the members lie in: the file, or what it was unpacked to.
    bytes: Bytes,
    /// Sorted by name, each name once.
    members: Vec<Member>,
    /// What is told instead of read; see [`Listing`].
    passed_over: Vec<Box<str>>,
    /// Restart points of a compressed tar.
    points: Option<gzip::Points>,
    /// What the list of members takes of the budget.
    _claim: Claim,
}

impl Archive {
    /// Opens an archive and lists its members. Its content decides which kind of archive it is. A compressed tar is
    /// read once from start to end.
    ///
    /// Another program that changes the file while it is open makes errors or other bytes, and no harm beyond:
    /// [`Archive::unchanged`] tells.
    ///
    /// # Errors
    /// A file that is not an archive, is damaged or truncated, packs its members in a way that is not read, or needs
    /// more memory than the budget has left; and anything but a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let bad = |what: String| {
            let hint = match what.contains("(--max-memory)") {
                true => "raise it, or unpack the archive beside itself and remove it",
                false => "get it again, or unpack it beside itself and remove it",
            };
            Error::path(path, format!("cannot be read as an archive: {}", plain(&what)), hint)
        };
        let file = open_regular(path)?;
        let seen = Seen::of(path, &file)?;
        let bytes = Bytes::new(file, seen.length());
        let unpacked = unpacked::unpacked(&bytes).map_err(bad)?;
        let is_packed = unpacked.is_some();
        let bytes = unpacked.unwrap_or(bytes);
        if is_packed && !tar::is_tar(&bytes.start(START).map_err(bad)?) {
            return Err(bad("it holds no tar".into()));
        }
        let (Listing { mut members, passed_over, claim }, points) = list(&bytes).map_err(bad)?;
        // Of two members with one name the later one counts. The sort is stable, so that reversing puts it first.
        members.reverse();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members.dedup_by(|a, b| a.name == b.name);
        Ok(Archive { seen, bytes, members, passed_over, points, _claim: claim })
    }

    /// The file of the archive.
    pub fn path(&self) -> &Path {
        self.seen.path()
    }

    /// Checks that the file is the one that was opened, as long as then and not changed since.
    ///
    /// # Errors
    /// Those of [`Seen::unchanged`].
    pub fn unchanged(&self) -> Result<()> {
        self.seen.unchanged()
    }

    /// Paths in the archive of hidden pictures, of folders of other programs, and of pictures whose paths lead out of
    /// it. None of these are members.
    pub(crate) fn passed_over(&self) -> impl Iterator<Item = &str> {
        self.passed_over.iter().map(|path| &**path)
    }

    /// Path of a member in the archive.
    pub(crate) fn name(&self, member: u32) -> &str {
        &self.members[member as usize].name
    }

    /// Position of the first byte of a member. Reading members in the order of their positions is fastest.
    pub(crate) fn position(&self, member: u32) -> u64 {
        self.members[member as usize].start
    }

    /// The member with this path.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.members.binary_search_by(|member| (*member.name).cmp(name)).ok().map(|i| i as u32)
    }

    /// All members below a folder, sorted by name.
    pub(crate) fn below(&self, folder: &str) -> std::ops::Range<u32> {
        if folder.is_empty() {
            return 0..self.members.len() as u32;
        }
        // All names that begin with "folder/" lie before "folder0", because '0' follows '/'.
        let first = |name: &str| self.members.partition_point(|member| &*member.name < name) as u32;
        first(&format!("{folder}/"))..first(&format!("{folder}0"))
    }

    /// What lies directly in a folder, sorted by name.
    pub(crate) fn list(&self, folder: &str) -> Vec<FolderEntry> {
        let front = if folder.is_empty() { 0 } else { folder.len() + 1 };
        let mut entries: Vec<FolderEntry> = Vec::new();
        // The members of a folder follow one another.
        for member in self.below(folder) {
            let rest = &self.name(member)[front..];
            let (name, is_folder) = match rest.split_once('/') {
                Some((name, _)) => (name, true),
                None => (rest, false),
            };
            if entries.last().is_none_or(|last| last.name != name) {
                entries.push(FolderEntry { name: name.into(), is_folder });
            }
        }
        entries.sort();
        entries
    }

    /// The bytes of a member.
    ///
    /// # Errors
    /// In a few words, what is wrong with the member: too large or damaged; or with the archive, if another program
    /// shortened it.
    pub(crate) fn read(&self, member: u32) -> Parsed<Held> {
        let member = &self.members[member as usize];
        let &Member { start, size, ref packing, .. } = member;
        if size > MAX_MEMBER {
            return Err(format!("has {} MiB, the limit is {} MiB", size >> 20, MAX_MEMBER >> 20));
        }
        if let Some(points) = &self.points {
            return points.read(&self.bytes, start, size);
        }
        let stored = self.bytes.held(start, member.packed())?;
        let (bytes, want) = match *packing {
            Packing::Plain => return Ok(stored),
            Packing::Stored { checksum } => (stored, checksum),
            Packing::Deflated { checksum, packed } => {
                if zip::inflates_too_far(packed, size) {
                    return Err(format!("inflates to over {} times its size", gzip::MAX_INFLATION));
                }
                let mut bytes = Held::zeros(size).map_err(|refused| refused.to_string())?;
                let count = inflate(bytes.as_mut(), std::iter::once(&*stored), false, true);
                if count != Ok(size as usize) {
                    return Err("its compressed data is damaged".into());
                }
                (bytes, checksum)
            }
        };
        if crc32fast::hash(&bytes) != want {
            return Err("its checksum is wrong: the archive is damaged".into());
        }
        Ok(bytes)
    }
}

/// Bytes at the start of an archive that say of which kind it is.
const START: u64 = 512;

/// The members in the order of the archive, and the restart points of a compressed tar.
fn list(bytes: &Bytes) -> Parsed<(Listing, Option<gzip::Points>)> {
    let start = bytes.start(START)?;
    if zip::MAGIC.iter().any(|magic| start.starts_with(magic)) {
        Ok((zip::index(bytes)?, None))
    } else if start.starts_with(&gzip::MAGIC[..2]) {
        let mut stream = gzip::Indexer::new(bytes)?;
        let listing = tar::index(&mut stream, None)?;
        Ok((listing, Some(stream.finish()?)))
    } else if tar::is_tar(&start) {
        Ok((tar::index(bytes.reader(), Some(bytes.length()))?, None))
    } else if start.trim_ascii_start().starts_with(b"<") {
        Err("it is a web page, not the download".into())
    } else {
        Err("it is neither tar, gzip, xz, bzip2 nor zip, or truncated".into())
    }
}

/// A message without what could steer a terminal, because an archive chooses its names itself.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(300).collect()
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Archive").field("path", &self.path()).field("members", &self.members.len()).finish()
    }
}
