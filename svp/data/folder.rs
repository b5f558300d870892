//! Image folders: `train/CLASS/*`, `val/CLASS/*`, `test/CLASS/*` (`spec/datasets.md` section 7).

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::dataset::{Sample, Splits};
use super::decode;
use crate::{Error, Result};

/// Reads the splits. Classes are the folders of `train`, sorted by their bytes, and hold for all splits.
pub(super) fn open(dir: &Path) -> Result<Splits> {
    let train_dir = split_dir(dir, &["train"])?
        .ok_or_else(|| Error::path(dir, "has no folder train", "put images into train/CLASS/"))?;
    let mut other_files = 0;
    let mut classes = Vec::new();
    let mut train = Vec::new();
    for (name, path) in class_dirs(&train_dir)? {
        let files = images(&path, &mut other_files)?;
        if files.is_empty() {
            let what = format!("has no image ({})", decode::EXTENSIONS.join(", "));
            return Err(Error::path(&path, what, "fill or remove the class folder"));
        }
        train.extend(files.into_iter().map(|file| Sample::file(file, classes.len() as u32)));
        classes.push(name);
    }
    let mut other = |names: &[&str]| {
        let found = split_dir(dir, names)?;
        found.map(|split| known_classes(&split, &classes, &mut other_files)).transpose()
    };
    let val = other(&["val", "valid", "validation"])?;
    let test = other(&["test"])?;
    let mut notes = Vec::new();
    if other_files > 0 {
        notes.push(format!("left out because their names are not those of images: {other_files} files"));
    }
    Ok(Splits { classes, train, val, test, notes })
}

/// The one sub-folder with one of these names, in any case.
pub(super) fn split_dir(dir: &Path, names: &[&str]) -> Result<Option<PathBuf>> {
    let wanted = |name: &OsString| names.iter().any(|n| name.eq_ignore_ascii_case(n));
    let mut found = entries(dir)?.into_iter().filter(|(name, path)| wanted(name) && path.is_dir());
    match (found.next(), found.next()) {
        (Some((a, _)), Some((b, _))) => {
            let what = format!("has both {} and {}", a.display(), b.display());
            Err(Error::path(dir, what, "keep one of them"))
        }
        (first, _) => Ok(first.map(|(_, path)| path)),
    }
}

/// Samples of a split that must not bring classes of its own.
fn known_classes(split: &Path, classes: &[String], other_files: &mut usize) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (name, path) in class_dirs(split)? {
        let label = classes.binary_search(&name).map_err(|_| {
            Error::path(&path, "is a class that train does not have", "remove or rename the folder")
        })?;
        samples.extend(images(&path, other_files)?.into_iter().map(|file| Sample::file(file, label as u32)));
    }
    Ok(samples)
}

/// Sub-folders with their names, sorted.
fn class_dirs(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut dirs = Vec::new();
    for (name, path) in entries(dir)? {
        if path.is_dir() {
            let name = name
                .into_string()
                .map_err(|_| Error::path(&path, "has a name that is not UTF-8", "rename the folder"))?;
            dirs.push((name, path));
        }
    }
    Ok(dirs)
}

/// Image files below `dir`, folder by folder, both sorted by their bytes; links are followed. Counts the files
/// that are no images by name.
fn images(dir: &Path, other_files: &mut usize) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        let real = dir.canonicalize().map_err(|e| Error::io(&dir, "open", &e))?;
        // A folder that links lead to again, perhaps its own ancestor, is read once.
        if !seen.insert(real) {
            continue;
        }
        for (_, path) in entries(&dir)? {
            if path.is_dir() {
                todo.push(path);
            } else if decode::is_image_name(&path) {
                files.push(path);
            } else {
                *other_files += 1;
            }
        }
    }
    // Not the order of `Path`, which compares component by component.
    let whole = |path: &Path| path.as_os_str().to_os_string();
    files.sort_by_cached_key(|path| (path.parent().map(whole), path.file_name().map(OsString::from)));
    Ok(files)
}

/// Entries of a folder that are not hidden, sorted by the bytes of their names.
fn entries(dir: &Path) -> Result<Vec<(OsString, PathBuf)>> {
    let failed = |e: std::io::Error| Error::io(dir, "list the folder", &e);
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push((entry.file_name(), entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}
