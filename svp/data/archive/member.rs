//! What an archive holds, and how its members lie in it.

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

/// A path without `./` and doubled slashes. `None` if it leads out of the archive, is hidden, or belongs to another program.
pub(super) fn clean(path: &str) -> Option<Box<str>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let hidden = |part: &&str| part.starts_with('.') || crate::files::is_foreign(part);
    (!parts.is_empty() && !parts.iter().any(hidden)).then(|| parts.join("/").into())
}
