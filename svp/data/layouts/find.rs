//! Finds the data set at a path and reads it.

use std::path::Path;

use super::known::{Counts, KNOWN, Known};
use super::layout::Layout;
use super::splits::{Purpose, Splits};
use super::{birds, folder, food, json, rows, vtab};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::regular::check_regular;

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
/// beside them is not enough. `seed` decides those training sets that the published program draws. Lists may name files
/// outside of the data set only if `allow_outside` says so.
///
/// # Errors
/// A path with no data set or several, and one whose files cannot be read.
pub(crate) fn find(path: &Path, layout: Layout, seed: u64, allow_outside: bool) -> Result<Recognised> {
    find_for(Purpose::Train, path, layout, seed, allow_outside)
}

/// The same for a purpose other than training.
///
/// # Errors
/// Those of [`find`].
pub(crate) fn find_for(
    purpose: Purpose,
    path: &Path,
    layout: Layout,
    seed: u64,
    allow_outside: bool,
) -> Result<Recognised> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, "open the data", &e))?;
    if !meta.is_dir() {
        check_regular(path, &meta)?;
        return match rows::is_list_name(path) {
            true => rows::recognised(path, layout, purpose),
            false => locate(&Files::archive(path)?.allow_outside(allow_outside), layout, seed, purpose),
        };
    }
    let bare = locate(&Files::folder(path).allow_outside(allow_outside), layout, seed, purpose);
    let enough = |found: &Recognised| {
        let known = matches!(found.layout, Layout::Known(_));
        // What says which images are for what may lie in an archive beside class folders.
        let split = !known && !found.splits.unsplit;
        found.splits.missing.is_empty() && (split || found.splits.test.is_some())
    };
    if bare.as_ref().is_ok_and(enough) {
        return bare;
    }
    match Files::with_archives(path, &archive_folders(layout))? {
        Some(files) => match (locate(&files.allow_outside(allow_outside), layout, seed, purpose), bare) {
            (Err(_), Ok(bare)) if bare.splits.unsplit => Ok(bare),
            (found, _) => found,
        },
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
fn locate(files: &Files, layout: Layout, seed: u64, purpose: Purpose) -> Result<Recognised> {
    let asked = layout;
    let mut found = candidates(files, layout, purpose)?;
    if found.len() != 1 {
        return Err(undecided(files, layout, purpose, &found));
    }
    let (layout, files) = found.remove(0);
    let splits = read(layout, &files, seed, purpose)?;
    match layout {
        Layout::Known(known) if asked == Layout::Auto => of_its_own(known, files, splits),
        _ => Ok(Recognised { layout, files, splits }),
    }
}

/// Reads the data set of a layout in its folder.
fn read(layout: Layout, files: &Files, seed: u64, purpose: Purpose) -> Result<Splits> {
    match layout {
        Layout::Auto | Layout::Folder => folder::open(files, purpose),
        Layout::Csv => Err(Error::path(&files.path(""), "is a folder", "give --data the csv file itself")),
        Layout::Metadata => rows::open_metadata(files, purpose),
        Layout::Tables => birds::open(files),
        Layout::Lists => food::open_own(files),
        Layout::Vtab => vtab::open(files, None),
        Layout::Json => json::open(files),
        Layout::Known(known) => known.open(files, seed),
    }
}

/// The published data set, unless the number of classes says that it is another one in the same form, which is then
/// read as a set of its own.
fn of_its_own(known: &'static Known, files: Files, splits: Splits) -> Result<Recognised> {
    let classes = splits.classes.len();
    let own = known.of_its_own(splits.form).filter(|_| classes != known.classes);
    let Some(layout) = own else {
        return Ok(Recognised { layout: Layout::Known(known), files, splits });
    };
    let mut splits = read(layout, &files, 0, Purpose::Train)?;
    splits.notes.push(format!(
        "like {}, but with {classes} classes instead of {}: read as a set of its own (--dataset {} insists)",
        known.title, known.classes, known.name
    ));
    Ok(Recognised { layout, files, splits })
}

/// The data sets of a layout among these files, with the folders in which they lie.
fn candidates(files: &Files, layout: Layout, purpose: Purpose) -> Result<Vec<(Layout, Files)>> {
    if let Some(layout) = here(files, layout, purpose)? {
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
            found.extend(here(&files, layout, purpose)?.map(|layout| (layout, files)));
        }
    }
    if found.is_empty() && matches!(layout, Layout::Auto | Layout::Folder) {
        found.extend(class_folders(files, purpose)?.map(|files| (Layout::Folder, files)));
    }
    Ok(found)
}

/// The folder whose sub-folders are classes: this one, or the only one in it. To measure on, one class is enough.
fn class_folders(files: &Files, purpose: Purpose) -> Result<Option<Files>> {
    if folder::fits_classes(files, 2)? {
        return Ok(Some(files.clone()));
    }
    if let [one] = &files.folders("")?[..] {
        let inside = files.inside(one);
        if folder::fits_classes(&inside, 2)? {
            return Ok(Some(inside));
        }
    }
    Ok((purpose == Purpose::Measure && folder::fits_classes(files, 1)?).then(|| files.clone()))
}

/// The layout of a folder, told by the files that only one layout has.
fn here(files: &Files, layout: Layout, purpose: Purpose) -> Result<Option<Layout>> {
    let fits = match layout {
        Layout::Auto => {
            for known in &KNOWN {
                if known.fits(files, false)? {
                    return Ok(Some(Layout::Known(known)));
                }
            }
            let own = [Layout::Tables, Layout::Vtab, Layout::Json, Layout::Metadata, Layout::Folder];
            for layout in own {
                if here(files, layout, purpose)?.is_some() {
                    return Ok(Some(layout));
                }
            }
            false
        }
        Layout::Folder => folder::fits(files, purpose)?,
        Layout::Csv => false,
        Layout::Metadata => rows::has_metadata(files, purpose)?,
        Layout::Tables => birds::fits(files),
        Layout::Lists => food::fits(files)?,
        Layout::Vtab => vtab::fits(files),
        Layout::Json => json::fits(files),
        Layout::Known(known) => known.fits(files, true)?,
    };
    Ok(fits.then_some(layout))
}

/// The error that says why no data set was found, or not a single one.
fn undecided(files: &Files, layout: Layout, purpose: Purpose, found: &[(Layout, Files)]) -> Error {
    let root = files.path("");
    if !found.is_empty() {
        let shown =
            found.iter().take(5).map(|(layout, files)| format!("{layout} in {}", files.path("").display()));
        let shown: Vec<String> = shown.collect();
        let more = if found.len() > 5 { ", ..." } else { "" };
        let what = format!("holds {} data sets: {}{more}", found.len(), shown.join(", "));
        let hint = "point to the folder or archive of one, or name it with --dataset";
        return Error::path(&root, what, hint);
    }
    let what = match layout {
        Layout::Auto | Layout::Folder if purpose == Purpose::Measure => {
            let what = "has no labelled images: neither folders of classes (CLASS/* or test/CLASS/*), nor lists, nor a \
                        data set that is known by its own files";
            let hint = "put the images into a folder for each class, or give a csv file of path and label";
            return Error::path(&root, what, hint);
        }
        Layout::Auto => {
            "has none of train/CLASS/*, CLASS/* (two at least), metadata.csv, train800.txt, train800val200.txt, \
             train.json, and no data set that is known by its own files"
                .into()
        }
        Layout::Folder => "has no folder train, and no two folders with images".into(),
        Layout::Csv => "is no csv, tsv or jsonl file".into(),
        Layout::Metadata => "has no metadata.csv or metadata.jsonl with columns file_name and label".into(),
        Layout::Tables => "has no images.txt with image_class_labels.txt and train_test_split.txt".into(),
        Layout::Lists => "has neither meta/train.json nor meta/train.txt".into(),
        Layout::Vtab => "has neither train800.txt nor train800val200.txt".into(),
        Layout::Json => "has no train.json".into(),
        Layout::Known(known) => format!("has no {}: looked for {}", known.title, known.marks()),
    };
    Error::path(&root, what, "point to the folder or archive that holds it")
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
