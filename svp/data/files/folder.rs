//! Folders on disk.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::{PassedOver, Store, is_foreign};
use crate::archive::FolderEntry;
use crate::decode;
use crate::error::{Error, Result};
use crate::source::Source;

/// Files on disk.
pub(super) struct Folder {
    root: PathBuf,
    passed_over: PassedOver,
}

impl Folder {
    /// Files below `root`. What is met and not read goes to `passed_over`.
    pub fn new(root: &Path, passed_over: &PassedOver) -> Self {
        Folder { root: root.into(), passed_over: passed_over.clone() }
    }

    /// A path on disk. The root is not joined with the empty path, which would add a slash.
    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    /// What lies in a folder, without what is hidden or belongs to other programs.
    fn entries(&self, dir: &Path) -> Result<Vec<Shown>> {
        let Entries { shown, passed_over } = entries(dir)?;
        self.passed_over.lock().unwrap_or_else(PoisonError::into_inner).extend(passed_over);
        Ok(shown)
    }
}

impl Store for Folder {
    fn list(&self, folder: &str) -> Result<Vec<FolderEntry>> {
        let folder = self.path(folder);
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let entry = |Shown { name, path, is_folder }: Shown| match name.into_string() {
            Ok(name) => Ok(FolderEntry { name, is_folder }),
            Err(_) => Err(Error::path(&path, "has a name that is not UTF-8", "rename it")),
        };
        self.entries(&folder)?.into_iter().map(entry).collect()
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
            for Shown { path, is_folder, .. } in self.entries(&dir)? {
                if is_folder {
                    todo.push(path);
                } else {
                    files.push(Source::File(path.into()));
                }
            }
        }
        Ok(files)
    }
}

/// A file or a folder. Links are what they lead to.
struct Shown {
    name: OsString,
    path: PathBuf,
    is_folder: bool,
}

/// What lies in a folder.
struct Entries {
    /// What counts.
    shown: Vec<Shown>,
    /// Hidden pictures, and folders of other programs.
    passed_over: Vec<PathBuf>,
}

fn entries(dir: &Path) -> Result<Entries> {
    let failed = |e: std::io::Error| Error::io(dir, "list the folder", &e);
    let mut entries = Entries { shown: Vec::new(), passed_over: Vec::new() };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, path) = (entry.file_name(), entry.path());
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if hidden && decode::is_image_name(&path) || name.to_str().is_some_and(is_foreign) {
            entries.passed_over.push(path);
        } else if !hidden {
            let kind = entry.file_type().map_err(failed)?;
            let is_folder = kind.is_dir() || kind.is_symlink() && path.is_dir();
            entries.shown.push(Shown { name, path, is_folder });
        }
    }
    Ok(entries)
}
