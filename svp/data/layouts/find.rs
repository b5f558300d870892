//! Finds the data set at a path and reads it.

use std::path::Path;

use super::known::{Counts, KNOWN, Known};
use super::layout::Layout;
use super::splits::Splits;
use super::{folder, json, vtab};
use crate::error::{Error, Result};
use crate::files::Files;

/// A data set that was recognised and read.
pub(crate) struct Recognised {
    /// Never [`Layout::Auto`].
    pub layout: Layout,
    /// Its folder.
    pub files: Files,
    pub splits: Splits,
}

/// Finds and reads the data set at `path`, which is a folder or an archive. It may lie there, in the sub-folder where
/// the published program keeps it, or in the only sub-folder that has one. Archives in a folder are opened if what lies
/// beside them is not enough. `seed` decides those training sets that the published program draws.
///
/// # Errors
/// A path with no data set or several, and one whose files cannot be read.
pub(crate) fn find(path: &Path, layout: Layout, seed: u64) -> Result<Recognised> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, "open the data", &e))?;
    if !meta.is_dir() {
        return locate(&Files::archive(path)?, layout, seed);
    }
    let bare = locate(&Files::folder(path), layout, seed);
    let enough = |found: &Recognised| {
        let known = matches!(found.layout, Layout::Known(_));
        found.splits.missing.is_empty() && (!known || found.splits.test.is_some())
    };
    if bare.as_ref().is_ok_and(enough) {
        return bare;
    }
    match Files::with_archives(path, &archive_folders(layout))? {
        Some(files) => locate(&files, layout, seed),
        None => bare,
    }
}

/// The sub-folders in which archives of a layout may lie.
pub(super) fn archive_folders(layout: Layout) -> Vec<String> {
    let all = KNOWN.iter().filter(|known| layout == Layout::Auto || layout == Layout::Known(known));
    let mut folders = Vec::new();
    for folder in all.flat_map(Known::usual_folders) {
        // Archives may also lie in each folder on the way there.
        folders.extend(folder.match_indices('/').map(|(at, _)| folder[..at].to_string()));
        folders.push(folder);
    }
    folders.sort();
    folders.dedup();
    folders
}

/// Reads the only data set of a layout among these files.
fn locate(files: &Files, layout: Layout, seed: u64) -> Result<Recognised> {
    let mut candidates = candidates(files, layout)?;
    let (Some((layout, files)), None) = (candidates.pop(), candidates.pop().as_ref()) else {
        return Err(undecided(files, layout)?);
    };
    let splits = match layout {
        Layout::Auto | Layout::Folder => folder::open(&files)?,
        Layout::Vtab => vtab::open(&files, None)?,
        Layout::Json => json::open(&files)?,
        Layout::Known(known) => known.open(&files, seed)?,
    };
    Ok(Recognised { layout, files, splits })
}

/// The data sets of a layout among these files, with the folders in which they lie.
fn candidates(files: &Files, layout: Layout) -> Result<Vec<(Layout, Files)>> {
    if let Some(layout) = here(files, layout)? {
        return Ok(vec![(layout, files.clone())]);
    }
    let mut found = Vec::new();
    for known in KNOWN.iter().filter(|known| matches!(layout, Layout::Auto) || layout == Layout::Known(known))
    {
        if let Some(files) = known.locate(files)? {
            found.push((Layout::Known(known), files));
        }
    }
    if found.is_empty() {
        for folder in files.folders("")? {
            let files = files.inside(&folder);
            found.extend(here(&files, layout)?.map(|layout| (layout, files)));
        }
    }
    Ok(found)
}

/// The layout of a folder, told by the files that only one layout has.
fn here(files: &Files, layout: Layout) -> Result<Option<Layout>> {
    let fits = match layout {
        Layout::Auto => {
            for known in &KNOWN {
                if known.fits(files, false)? {
                    return Ok(Some(Layout::Known(known)));
                }
            }
            for layout in [Layout::Vtab, Layout::Json, Layout::Folder] {
                if here(files, layout)?.is_some() {
                    return Ok(Some(layout));
                }
            }
            false
        }
        Layout::Folder => folder::fits(files)?,
        Layout::Vtab => vtab::fits(files),
        Layout::Json => json::fits(files),
        Layout::Known(known) => known.fits(files, true)?,
    };
    Ok(fits.then_some(layout))
}

/// The error that says why no data set was found, or not a single one.
fn undecided(files: &Files, layout: Layout) -> Result<Error> {
    let found = candidates(files, layout)?;
    let root = files.path("");
    if !found.is_empty() {
        let shown =
            found.iter().take(5).map(|(layout, files)| format!("{layout} in {}", files.path("").display()));
        let shown: Vec<String> = shown.collect();
        let more = if found.len() > 5 { ", ..." } else { "" };
        let what = format!("holds {} data sets: {}{more}", found.len(), shown.join(", "));
        return Ok(Error::path(
            &root,
            what,
            "point to the folder or archive of one, or name it with --dataset",
        ));
    }
    let what = match layout {
        Layout::Auto => {
            "has none of train/CLASS/*, train800.txt, train800val200.txt, train.json, and no data set that is \
             known by its own files"
                .into()
        }
        Layout::Folder => "has no folder train".into(),
        Layout::Vtab => "has neither train800.txt nor train800val200.txt".into(),
        Layout::Json => "has no train.json".into(),
        Layout::Known(known) => format!("has no {}: looked for {}", known.title, known.marks()),
    };
    Ok(Error::path(&root, what, "point to the folder or archive that holds it"))
}

impl Recognised {
    /// One line that says what was recognised, and where.
    pub fn summary(&self) -> String {
        let mut line = format!("{}, {}", self.layout.title(), self.splits.form);
        line.push_str(&format!(", in {}", self.files.path("").display()));
        let archives: Vec<String> = self.files.archives().map(|path| path.display().to_string()).collect();
        if !archives.is_empty() {
            line.push_str(&format!(", read from {}", archives.join(", ")));
        }
        line
    }

    /// The published numbers for the form of the data set that was read.
    pub fn expected(&self) -> Option<&'static Counts> {
        match self.layout {
            Layout::Known(known) => known.counts.iter().find(|counts| counts.form == self.splits.form),
            _ => None,
        }
    }
}
