//! The files of a data set, wherever they lie: in folders, in archives inside them, or in one archive.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::archive::{self, Archive};
use super::source::{Member, Source};
use crate::{Error, Result};

/// Most bytes of a list or an annotation file: a hundred times the largest published one.
const MAX_TEXT: u64 = 256 << 20;
/// Most bytes of an array file; the largest published one has 182 MB.
const MAX_ARRAY: u64 = 512 << 20;

/// What lies in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub name: String,
    pub is_folder: bool,
}

/// Files by their paths below a root, with `/` between folders; the root itself is the empty path.
trait Store: Send + Sync {
    /// What lies directly in a folder, without hidden names; nothing if there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<Entry>>;
    fn is_folder(&self, path: &str) -> bool;
    /// The file with this path.
    fn find(&self, path: &str) -> Option<Source>;
    /// All files below a folder, without hidden ones.
    fn below(&self, folder: &str) -> Result<Vec<Source>>;
}

/// A folder and what lies in it, archives standing for the folders they would be unpacked to. Of two files with one
/// path that in the folder counts.
#[derive(Clone)]
pub(super) struct Files {
    root: PathBuf,
    /// The folder below the root that paths are relative to; empty for the root.
    place: String,
    mounts: Arc<Vec<Mount>>,
    /// Folders listed so far.
    listed: Arc<Mutex<HashMap<String, Arc<Vec<Entry>>>>>,
}

/// A store that shows in a folder below the root.
struct Mount {
    at: String,
    store: Box<dyn Store>,
    /// Where the store is an archive.
    archive: Option<PathBuf>,
}

impl Files {
    /// A folder, its archives closed.
    pub fn folder(root: &Path) -> Self {
        let store = Box::new(Folder(root.into()));
        Self::new(root, vec![Mount { at: String::new(), store, archive: None }])
    }

    /// An archive, as if it were a folder.
    pub fn archive(path: &Path) -> Result<Self> {
        Ok(Self::new(path, vec![Mount::archive(path, path, "")?]))
    }

    fn new(root: &Path, mounts: Vec<Mount>) -> Self {
        Files { root: root.into(), place: String::new(), mounts: Arc::new(mounts), listed: Arc::default() }
    }

    /// A folder with the archives that lie in it or in its sub-folders `places`, opened. Nothing if there are none.
    pub fn with_archives(root: &Path, places: &[String]) -> Result<Option<Self>> {
        let bare = Self::folder(root);
        let mut folders = vec![String::new()];
        for place in places {
            if let Some(found) = bare.at(place)?
                && !folders.contains(&found.place)
            {
                folders.push(found.place);
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

    /// The archives in use.
    pub fn archives(&self) -> impl Iterator<Item = &Path> {
        self.mounts.iter().filter_map(|mount| mount.archive.as_deref())
    }

    /// A path as the user knows it.
    pub fn path(&self, path: &str) -> PathBuf {
        match self.absolute(path) {
            path if path.is_empty() => self.root.clone(),
            path => self.root.join(path),
        }
    }

    /// The path below the root.
    fn absolute(&self, path: &str) -> String {
        match (self.place.as_str(), path) {
            ("", path) => path.into(),
            (place, "") => place.into(),
            (place, path) => format!("{place}/{path}"),
        }
    }

    /// The last part of the folder's name, without the ending of an archive.
    pub fn name(&self) -> String {
        let path = self.path("");
        let named = path.canonicalize().unwrap_or(path);
        let name = named.file_name().unwrap_or(named.as_os_str()).to_string_lossy().into_owned();
        archive::stem(&name).into()
    }

    /// A folder below this one, its names in any case.
    pub fn at(&self, path: &str) -> Result<Option<Files>> {
        let mut found = self.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match found.dir(&[part])? {
                Some(name) => found.place = found.absolute(&name),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// A folder below this one by its exact path.
    pub fn inside(&self, path: &str) -> Files {
        Files { place: self.absolute(path), ..self.clone() }
    }

    /// Name of the one sub-folder with one of these names, in any case.
    pub fn dir(&self, names: &[&str]) -> Result<Option<String>> {
        let entries = self.list("")?;
        let wanted = |entry: &&Entry| {
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

    /// What lies in a folder, sorted by the bytes of the names, without hidden ones.
    pub fn list(&self, folder: &str) -> Result<Arc<Vec<Entry>>> {
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

    /// Sub-folders, sorted.
    pub fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let entries = self.list(folder)?;
        Ok(entries.iter().filter(|entry| entry.is_folder).map(|entry| entry.name.clone()).collect())
    }

    pub fn is_folder(&self, path: &str) -> bool {
        let path = self.absolute(path);
        self.inner(&path).any(|(mount, inner)| mount.store.is_folder(inner))
    }

    pub fn find(&self, path: &str) -> Option<Source> {
        let path = self.absolute(path);
        self.inner(&path).find_map(|(mount, inner)| mount.store.find(inner))
    }

    pub fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// All files below a folder, folder by folder, both sorted by their bytes.
    pub fn below(&self, folder: &str) -> Result<Vec<Source>> {
        let folder = self.absolute(folder);
        let mut files = Vec::new();
        for (mount, inner) in self.inner(&folder) {
            files.extend(mount.store.below(inner)?);
        }
        // Not the order of `Path`, which compares component by component.
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
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.file(path)?.bytes(MAX_ARRAY)
    }

    /// The text of a list.
    pub fn text(&self, path: &str) -> Result<String> {
        let bytes = self.file(path)?.bytes(MAX_TEXT)?;
        let not_text =
            |_| Error::path(&self.path(path), "is not UTF-8 text", "check that it is the split file");
        String::from_utf8(bytes).map_err(not_text)
    }

    fn file(&self, path: &str) -> Result<Source> {
        self.find(path).ok_or_else(|| Error::path(&self.path(path), "is missing", "put it there"))
    }

    /// Stores that reach to a path below the root, with its path inside each.
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
    /// Not `join` for the root, which would add a slash.
    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.0.clone() } else { self.0.join(path) }
    }
}

impl Store for Folder {
    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let folder = self.path(folder);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let entry = |(name, path): (OsString, PathBuf)| match name.into_string() {
            Ok(name) => Ok(Entry { name, is_folder: path.is_dir() }),
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

    /// Links are followed; a folder that links lead to again, perhaps its own ancestor, is read once.
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

/// Entries of a folder that are not hidden.
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

/// An archive that stands for the folder `at`.
struct Unpacked {
    archive: Arc<Archive>,
    at: Arc<Path>,
}

impl Unpacked {
    fn source(&self, number: u32) -> Source {
        Source::Member(Member::new(self.archive.clone(), number, self.at.clone()))
    }
}

impl Store for Unpacked {
    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
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
    fn archive(path: &Path, folder: &Path, at: &str) -> Result<Self> {
        let archive = Arc::new(Archive::open(path)?);
        let store = Box::new(Unpacked { archive, at: folder.into() });
        Ok(Mount { at: at.into(), store, archive: Some(path.into()) })
    }
}
