//! What an archive holds, and how its members lie in it.

use std::path::Path;

use engine::budget::Claim;

use crate::error::Parsed;
use crate::{decode, files};

/// A file in an archive.
pub(super) struct Member {
    /// Path in the archive, with `/` between folders.
    pub name: Box<str>,
    /// Position of the first byte: in the file, or in the stream of a compressed tar.
    pub start: u64,
    /// Number of bytes once unpacked.
    pub size: u64,
    pub packing: Packing,
}

impl Member {
    /// Bytes that it takes in the archive.
    pub fn packed(&self) -> u64 {
        match self.packing {
            Packing::Deflated { packed, .. } => packed,
            Packing::Plain | Packing::Stored { .. } => self.size,
        }
    }
}

/// How the bytes of a member are packed.
pub(super) enum Packing {
    /// A member of a tar, as it is.
    Plain,
    /// A member of a zip, as it is.
    Stored { checksum: u32 },
    /// A member of a zip, compressed to `packed` bytes.
    Deflated { checksum: u32, packed: u64 },
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FolderEntry {
    pub name: String,
    pub is_folder: bool,
}

/// The files of an archive.
#[derive(Default)]
pub(super) struct Listing {
    pub members: Vec<Member>,
    /// What is not read but told, as on disk: hidden pictures, folders of other programs, and pictures whose paths lead
    /// out of the archive.
    pub passed_over: Vec<Box<str>>,
    /// What the list takes of the budget.
    pub claim: Claim,
}

impl Listing {
    /// Counts what an entry of this name takes of the budget, whatever becomes of it.
    ///
    /// # Errors
    /// A budget that has less left.
    pub fn count(&mut self, name: &str) -> Parsed<()> {
        let bytes = size_of::<Member>() + name.len();
        self.claim.grow(bytes as u64).map_err(|refused| format!("the list of its members {refused}"))
    }

    /// A member's path without `./` and doubled slashes. `None` if it leads out of the archive, is hidden, or belongs to
    /// another program.
    pub fn name(&mut self, path: &str) -> Option<Box<str>> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let hidden = |part: &&str| part.starts_with('.') || files::is_foreign(part);
        let Some(first) = parts.iter().position(hidden) else {
            return (!parts.is_empty()).then(|| parts.join("/").into());
        };
        let is_picture = || decode::is_image_name(Path::new(path));
        if files::is_foreign(parts[first]) {
            self.passed_over.push(parts[..=first].join("/").into());
        } else if is_picture() && (first + 1 == parts.len() || parts.contains(&"..")) {
            self.passed_over.push(parts.join("/").into());
        }
        None
    }
}
