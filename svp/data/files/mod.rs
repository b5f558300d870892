//! The files of a data set, wherever they lie: in folders, in archives inside of these, or in one archive.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use engine::budget;

use crate::archive::{self, Archive, FolderEntry};
use crate::decode;
use crate::error::{Error, Result};
use crate::held::Held;
use crate::source::{ArchivedFile, Source};
use crate::text;

mod folder;

use folder::Folder;

/// The most bytes of a list or an annotation file: a hundred times those of the largest published one.
const MAX_TEXT: u64 = 256 << 20;
/// Bytes of memory that reading a list takes for each of its bytes, at most: entries may be as short as nine bytes, and
/// each becomes a text, a label and a sample.
const OF_LIST: u64 = 32;
/// The most bytes of an array file. The largest published one has 182 MB.
const MAX_ARRAY: u64 = 512 << 20;

/// Names of folders in which other programs and systems keep thumbnails, deleted files and the like, in upper or lower
/// case. Their pictures belong to no data set.
const FOREIGN: [&str; 7] = [
    "@eaDir",
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "__MACOSX",
];

/// Whether a folder of this name belongs to another program or to the system.
pub(crate) fn is_foreign(name: &str) -> bool {
    FOREIGN.iter().any(|foreign| foreign.eq_ignore_ascii_case(name))
}

/// Hidden pictures and folders of other programs that were met and not read.
type PassedOver = Arc<Mutex<BTreeSet<PathBuf>>>;

/// Files by their paths below a root, with `/` between folders. The root itself is the empty path.
trait Store: Send + Sync {
    /// What lies directly in a folder, without hidden names. Empty if there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<FolderEntry>>;
    /// Whether there is a folder with this path.
    fn is_folder(&self, path: &str) -> bool;
    /// The file with this path.
    fn find(&self, path: &str) -> Option<Source>;
    /// All files below a folder, without hidden ones.
    fn below(&self, folder: &str) -> Result<Vec<Source>>;
}

/// A folder and what lies in it. Archives stand for the folders that they would be unpacked to. Of two files with one
/// path, the one in the folder counts.
#[derive(Clone)]
pub(crate) struct Files {
    root: PathBuf,
    /// The folder below the root that paths are relative to. Empty for the root.
    base: String,
    mounts: Arc<Vec<Mount>>,
    /// The folders that were listed so far.
    listed: Arc<Mutex<HashMap<String, Arc<Vec<FolderEntry>>>>>,
    passed_over: PassedOver,
    /// Whether paths may lead out of the root. A data set comes from others, so its lists may name what is in it and
    /// nothing else, unless the user allows it; a list of one's own may name any file.
    anywhere: bool,
}

/// A store whose files show in a folder below the root.
struct Mount {
    /// The folder.
    at: String,
    store: Box<dyn Store>,
    /// The archive, if the store is one.
    archive: Option<PathBuf>,
}

impl Files {
    /// A folder, in which archives are files like any other.
    pub fn folder(root: &Path) -> Self {
        let passed_over = PassedOver::default();
        let mounts = vec![Mount::folder(root, &passed_over)];
        Self::new(root, mounts, passed_over)
    }

    /// The same files, of which lists may name files outside as well if `allow` says so.
    pub fn allow_outside(self, allow: bool) -> Self {
        Files { anywhere: allow, ..self }
    }

    /// An archive, seen as a folder.
    pub fn archive(path: &Path) -> Result<Self> {
        let passed_over = PassedOver::default();
        let mounts = vec![Mount::archive(path, path, "", &passed_over)?];
        Ok(Self::new(path, mounts, passed_over))
    }

    fn new(root: &Path, mounts: Vec<Mount>, passed_over: PassedOver) -> Self {
        Files {
            root: root.into(),
            base: String::new(),
            mounts: Arc::new(mounts),
            listed: Arc::default(),
            passed_over,
            anywhere: false,
        }
    }

    /// A folder with the archives opened that lie in it or in its sub-folders `also`. `None` if there are no archives.
    pub fn with_archives(root: &Path, also: &[String]) -> Result<Option<Self>> {
        let bare = Self::folder(root);
        let mut folders = vec![String::new()];
        for path in also {
            if let Some(found) = bare.at(path)?
                && !folders.contains(&found.base)
            {
                folders.push(found.base);
            }
        }
        let mut mounts = vec![Mount::folder(root, &bare.passed_over)];
        for at in folders {
            let folder = if at.is_empty() { root.into() } else { root.join(&at) };
            for entry in bare.list(&at)?.iter().filter(|entry| !entry.is_folder) {
                let path = folder.join(&entry.name);
                if archive::is_archive_name(&path) {
                    mounts.push(Mount::archive(&path, &folder, &at, &bare.passed_over)?);
                }
            }
        }
        Ok((mounts.len() > 1).then(|| Self::new(root, mounts, bare.passed_over)))
    }

    /// The archives that are open.
    pub fn archives(&self) -> impl Iterator<Item = &Path> {
        self.mounts.iter().filter_map(|mount| mount.archive.as_deref())
    }

    /// A path below this folder as the user knows it.
    pub fn path(&self, path: &str) -> PathBuf {
        match self.absolute(path) {
            path if path.is_empty() => self.root.clone(),
            path => self.root.join(path),
        }
    }

    /// The path below the root of a path below this folder.
    fn absolute(&self, path: &str) -> String {
        match (self.base.as_str(), path) {
            (_, path) if Path::new(path).has_root() => path.into(),
            ("", path) => path.into(),
            (base, "") => base.into(),
            (base, path) => format!("{base}/{path}"),
        }
    }

    /// The last part of the folder's name, without the ending of an archive.
    pub fn name(&self) -> String {
        let path = self.path("");
        let named = path.canonicalize().unwrap_or(path);
        let name = named.file_name().unwrap_or(named.as_os_str()).to_string_lossy().into_owned();
        archive::stem(&name).into()
    }

    /// A folder below this one, whose names may be written in upper or lower case.
    pub fn at(&self, path: &str) -> Result<Option<Files>> {
        let mut found = self.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match found.dir(&[part])? {
                Some(name) => found.base = found.absolute(&name),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// A folder below this one by its exact path.
    pub fn inside(&self, path: &str) -> Files {
        Files { base: self.absolute(path), ..self.clone() }
    }

    /// The sub-folder that has one of these names, in upper or lower case.
    ///
    /// # Errors
    /// Two such folders, or a folder that cannot be listed.
    pub fn dir(&self, names: &[&str]) -> Result<Option<String>> {
        let entries = self.list("")?;
        let wanted = |entry: &&FolderEntry| {
            entry.is_folder && names.iter().any(|name| name.eq_ignore_ascii_case(&entry.name))
        };
        let mut found = entries.iter().filter(wanted);
        match (found.next(), found.next()) {
            (Some(a), Some(b)) => {
                let what = format!("has both {} and {}", a.name, b.name);
                Err(Error::path(&self.path(""), what, "keep one of them"))
            }
            (first, _) => Ok(first.map(|entry| entry.name.clone())),
        }
    }

    /// What lies in a folder, without hidden names, sorted by the bytes of the names.
    pub fn list(&self, folder: &str) -> Result<Arc<Vec<FolderEntry>>> {
        let folder = self.absolute(folder);
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = listed.get(&folder) {
            return Ok(entries.clone());
        }
        let mut entries = Vec::new();
        for (mount, inner) in self.inner(&folder) {
            entries.extend(mount.store.list(inner)?);
        }
        entries.sort();
        entries.dedup();
        let entries = Arc::new(entries);
        listed.insert(folder, entries.clone());
        Ok(entries)
    }

    /// The sub-folders of a folder, sorted.
    pub fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let entries = self.list(folder)?;
        Ok(entries.iter().filter(|entry| entry.is_folder).map(|entry| entry.name.clone()).collect())
    }

    /// Whether there is a folder with this path.
    pub fn is_folder(&self, path: &str) -> bool {
        let path = self.absolute(path);
        self.inner(&path).any(|(mount, inner)| mount.store.is_folder(inner))
    }

    /// The file with this path.
    pub fn find(&self, path: &str) -> Option<Source> {
        let path = self.absolute(path);
        self.inner(&path).find_map(|(mount, inner)| mount.store.find(inner))
    }

    /// Whether there is a file with this path. The folders on the way are listed once, so that asking for many files that
    /// are not there costs little.
    pub fn has(&self, path: &str) -> bool {
        self.may_have(path) && self.find(path).is_some()
    }

    /// Whether the lists of the folders on the way hold a path, or do not tell.
    fn may_have(&self, path: &str) -> bool {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name.starts_with('.') || is_foreign(name) {
            return true;
        }
        if !folder.is_empty() && !self.may_have(folder) {
            return false;
        }
        let sought = |entries: Arc<Vec<FolderEntry>>| {
            let at = entries.partition_point(|entry| entry.name.as_str() < name);
            entries.get(at).is_some_and(|entry| entry.name == name)
        };
        self.list(folder).map_or(true, sought)
    }

    /// All files below a folder, folder by folder; folders and files are sorted by the bytes of their names.
    pub fn below(&self, folder: &str) -> Result<Vec<Source>> {
        let folder = self.absolute(folder);
        let mut files = Vec::new();
        for (mount, inner) in self.inner(&folder) {
            files.extend(mount.store.below(inner)?);
        }
        // The order is not that of `Path`, which compares component by component.
        let whole = |path: &Path| path.as_os_str().to_os_string();
        let key = |file: &Source| {
            let path = file.path();
            (path.parent().map(whole), path.file_name().map(OsString::from))
        };
        files.sort_by_cached_key(key);
        files.dedup_by_key(|file| key(file));
        Ok(files)
    }

    /// The hidden pictures and the folders of other programs that were met below this folder, and not read.
    pub fn passed_over(&self) -> Vec<PathBuf> {
        let here = self.path("");
        let all = self.passed_over.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|path| path.starts_with(&here)).cloned().collect()
    }

    /// The bytes of an array file.
    ///
    /// # Errors
    /// A file that is missing, unreadable or too large.
    pub fn read(&self, path: &str) -> Result<Held> {
        self.file(path)?.bytes(MAX_ARRAY)
    }

    /// The text of a list, without a byte-order mark.
    ///
    /// # Errors
    /// A file that is missing, unreadable, too large for its entries to have room in memory, or neither UTF-8 nor UTF-16
    /// with a byte-order mark.
    pub fn text(&self, path: &str) -> Result<String> {
        let bytes = self.file(path)?.bytes(MAX_TEXT)?;
        // Lists are read one after another, so that asking whether there is room is enough.
        drop(
            budget::claim(OF_LIST * bytes.len() as u64)
                .map_err(|refused| Error::refused(&self.path(path), refused))?,
        );
        let not_text = || {
            Error::path(
                &self.path(path),
                "is not UTF-8 text",
                "check that it is the list, and save it as UTF-8",
            )
        };
        text::decoded(bytes.into_bytes()).ok_or_else(not_text)
    }

    fn file(&self, path: &str) -> Result<Source> {
        self.find(path).ok_or_else(|| Error::path(&self.path(path), "is missing", "put it there"))
    }

    /// Whether a path of a list leads to a place from which nothing is read: one outside of the data set.
    pub fn is_outside(&self, path: &str) -> bool {
        !self.anywhere && (Path::new(path).has_root() || leads_out(&self.absolute(path)))
    }

    /// The stores that may hold a path below the root, with the path inside of each. None hold one that leads out of the
    /// root, unless such paths are wanted.
    fn inner<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a Mount, &'a str)> {
        let mounts = if self.anywhere || !leads_out(path) { &self.mounts[..] } else { &[] };
        mounts.iter().filter_map(move |mount| match path.strip_prefix(mount.at.as_str())? {
            inner if mount.at.is_empty() || inner.is_empty() => Some((mount, inner)),
            inner => Some((mount, inner.strip_prefix('/')?)),
        })
    }
}

/// Whether a path leads out of the folder that it is below: an absolute one, and one with more `..` than folders before
/// them.
fn leads_out(path: &str) -> bool {
    let mut depth = 0;
    Path::new(path).components().any(|part| {
        depth += match part {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            Component::CurDir => 0,
            Component::RootDir | Component::Prefix(_) => return true,
        };
        depth < 0
    })
}

/// The pictures that a folder on disk holds, for commands that take any pictures.
pub struct Pictures {
    /// Paths, folder by folder, sorted by the bytes of the names.
    pub paths: Vec<PathBuf>,
    /// What was left out, in lines for the log.
    pub left_out: Vec<String>,
}

/// Finds the pictures in and below a folder as training does: hidden ones and folders of other programs are passed
/// over, and links are followed, but not in circles.
///
/// # Errors
/// A folder that cannot be listed.
pub fn pictures(folder: &Path) -> Result<Pictures> {
    let files = Files::folder(folder);
    let all = files.below("")?.into_iter().map(|source| source.path());
    let (paths, others): (Vec<PathBuf>, Vec<PathBuf>) = all.partition(|path| decode::is_image_name(path));
    let left_out = text::left_out(&others, &files.passed_over());
    Ok(Pictures { paths, left_out })
}

/// An archive that stands for the folder `at` on disk.
struct Unpacked {
    archive: Arc<Archive>,
    at: Arc<Path>,
}

impl Unpacked {
    fn source(&self, number: u32) -> Source {
        Source::Archived(ArchivedFile::new(self.archive.clone(), number, self.at.clone()))
    }
}

impl Store for Unpacked {
    fn list(&self, folder: &str) -> Result<Vec<FolderEntry>> {
        Ok(self.archive.list(folder))
    }

    fn is_folder(&self, path: &str) -> bool {
        !self.archive.below(path).is_empty()
    }

    fn find(&self, path: &str) -> Option<Source> {
        self.archive.find(path).map(|number| self.source(number))
    }

    fn below(&self, folder: &str) -> Result<Vec<Source>> {
        Ok(self.archive.below(folder).map(|number| self.source(number)).collect())
    }
}

impl Mount {
    /// The folder `root` on disk.
    fn folder(root: &Path, passed_over: &PassedOver) -> Self {
        let store = Box::new(Folder::new(root, passed_over));
        Mount { at: String::new(), store, archive: None }
    }

    /// The archive at `path`, which lies in `folder` on disk and shows in the folder `at`.
    fn archive(path: &Path, folder: &Path, at: &str, passed_over: &PassedOver) -> Result<Self> {
        let archive = Arc::new(Archive::open(path)?);
        let own = archive.passed_over().map(|path| folder.join(path));
        passed_over.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
        let store = Box::new(Unpacked { archive, at: folder.into() });
        Ok(Mount { at: at.into(), store, archive: Some(path.into()) })
    }
}
