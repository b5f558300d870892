//! The files of a data set, wherever they lie: in folders, in archives inside of these, or in one archive.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::archive::{self, Archive, FolderEntry};
use crate::error::{Error, Result};
use crate::source::{ArchivedFile, Source};

/// The most bytes of a list or an annotation file: a hundred times those of the largest published one.
const MAX_TEXT: u64 = 256 << 20;
/// The most bytes of an array file. The largest published one has 182 MB.
const MAX_ARRAY: u64 = 512 << 20;

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
        let store = Box::new(Folder(root.into()));
        Self::new(root, vec![Mount { at: String::new(), store, archive: None }])
    }

    /// An archive, seen as a folder.
    pub fn archive(path: &Path) -> Result<Self> {
        Ok(Self::new(path, vec![Mount::archive(path, path, "")?]))
    }

    fn new(root: &Path, mounts: Vec<Mount>) -> Self {
        Files { root: root.into(), base: String::new(), mounts: Arc::new(mounts), listed: Arc::default() }
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
        let mut mounts =
            vec![Mount { at: String::new(), store: Box::new(Folder(root.into())), archive: None }];
        for at in folders {
            let folder = if at.is_empty() { root.into() } else { root.join(&at) };
            for entry in bare.list(&at)?.iter().filter(|entry| !entry.is_folder) {
                let path = folder.join(&entry.name);
                if archive::is_archive_name(&path) {
                    mounts.push(Mount::archive(&path, &folder, &at)?);
                }
            }
        }
        Ok((mounts.len() > 1).then(|| Self::new(root, mounts)))
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

    /// Whether there is a file with this path.
    pub fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
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

    /// The bytes of an array file.
    ///
    /// # Errors
    /// A file that is missing, unreadable or too large.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.file(path)?.bytes(MAX_ARRAY)
    }

    /// The text of a list.
    ///
    /// # Errors
    /// A file that is missing, unreadable, too large or not UTF-8.
    pub fn text(&self, path: &str) -> Result<String> {
        let bytes = self.file(path)?.bytes(MAX_TEXT)?;
        let not_text =
            |_| Error::path(&self.path(path), "is not UTF-8 text", "check that it is the split file");
        String::from_utf8(bytes).map_err(not_text)
    }

    fn file(&self, path: &str) -> Result<Source> {
        self.find(path).ok_or_else(|| Error::path(&self.path(path), "is missing", "put it there"))
    }

    /// The stores that may hold a path below the root, with the path inside of each.
    fn inner<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a Mount, &'a str)> {
        self.mounts.iter().filter_map(move |mount| match path.strip_prefix(mount.at.as_str())? {
            inner if mount.at.is_empty() || inner.is_empty() => Some((mount, inner)),
            inner => Some((mount, inner.strip_prefix('/')?)),
        })
    }
}

/// Files on disk.
struct Folder(PathBuf);

impl Folder {
    /// A path on disk. The root is not joined with the empty path, which would add a slash.
    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.0.clone() } else { self.0.join(path) }
    }
}

impl Store for Folder {
    fn list(&self, folder: &str) -> Result<Vec<FolderEntry>> {
        let folder = self.path(folder);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let entry = |(name, path): (OsString, PathBuf)| match name.into_string() {
            Ok(name) => Ok(FolderEntry { name, is_folder: path.is_dir() }),
            Err(_) => Err(Error::path(&path, "has a name that is not UTF-8", "rename it")),
        };
        entries(&folder)?.into_iter().map(entry).collect()
    }

    fn is_folder(&self, path: &str) -> bool {
        self.path(path).is_dir()
    }

    fn find(&self, path: &str) -> Option<Source> {
        let path = self.path(path);
        path.is_file().then(|| Source::File(path.into()))
    }

    /// Follows links. A folder that links lead to again, such as an ancestor of the link, is read once.
    fn below(&self, folder: &str) -> Result<Vec<Source>> {
        let mut files = Vec::new();
        let mut seen = HashSet::new();
        let mut todo = vec![self.path(folder)];
        todo.retain(|folder| folder.is_dir());
        while let Some(dir) = todo.pop() {
            let real = dir.canonicalize().map_err(|e| Error::io(&dir, "open", &e))?;
            if !seen.insert(real) {
                continue;
            }
            for (_, path) in entries(&dir)? {
                if path.is_dir() {
                    todo.push(path);
                } else {
                    files.push(Source::File(path.into()));
                }
            }
        }
        Ok(files)
    }
}

/// Names and paths of what lies in a folder and is not hidden.
fn entries(dir: &Path) -> Result<Vec<(OsString, PathBuf)>> {
    let failed = |e: std::io::Error| Error::io(dir, "list the folder", &e);
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push((entry.file_name(), entry.path()));
        }
    }
    Ok(entries)
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
    /// The archive at `path`, which lies in `folder` on disk and shows in the folder `at`.
    fn archive(path: &Path, folder: &Path, at: &str) -> Result<Self> {
        let archive = Arc::new(Archive::open(path)?);
        let store = Box::new(Unpacked { archive, at: folder.into() });
        Ok(Mount { at: at.into(), store, archive: Some(path.into()) })
    }
}
