//! How data sets lie on disk: one reader a layout, and finding the one that fits.
//!
//! Every reader sees its data set as [`Files`], in folders or in archives alike.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Sample;
use super::files::Files;
use super::mat::{self, Array};
use super::shuffle::shuffled;
use crate::{Error, Result};

mod birds;
mod cars;
mod cifar;
mod dogs;
mod dtd;
#[cfg(test)]
mod examples;
mod flowers;
mod folder;
mod food;
mod gtsrb;
mod json;
mod known;
mod lists;
mod svhn;
#[cfg(test)]
mod tests;
mod vtab;

pub use known::{Counts, KNOWN, Known};
pub(super) use lists::Missing;

/// What a data set is made of where it comes in several forms.
const JSON: &str = "JSON splits";
const TABLES: &str = "text tables";
const MAT: &str = "MATLAB files";
const PICKLES: &str = "Python pickles";
const BINARY: &str = "binary files";
const LISTS: &str = "lists";
const PPM: &str = "class folders and a csv";
const VTAB_PAIR: &str = "lists of 800 and 200";
const VTAB_JOINT: &str = "one list of 1,000";

/// How a data set lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Layout {
    /// Whichever of the others fits.
    #[default]
    Auto,
    /// `train/CLASS/*`, and `val` and `test` if there are any.
    Folder,
    /// VTAB-1k lists: `train800.txt`, `val200.txt`, `test.txt`.
    Vtab,
    /// VPT-style splits: `train.json`, `val.json`, `test.json`.
    Json,
    /// A published data set.
    Known(&'static Known),
}

impl Layout {
    /// As `--dataset` names it.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Auto => "auto",
            Layout::Folder => "folder",
            Layout::Vtab => "vtab",
            Layout::Json => "json",
            Layout::Known(known) => known.name,
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Layout::Auto => "whatever fits",
            Layout::Folder => "image folder",
            Layout::Vtab => "VTAB-1k lists",
            Layout::Json => "VPT-style splits",
            Layout::Known(known) => known.title,
        }
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let plain = [Layout::Auto, Layout::Folder, Layout::Vtab, Layout::Json];
        let plain = plain.into_iter().find(|layout| layout.name() == name);
        plain.or_else(|| Known::named(name).map(Layout::Known)).ok_or_else(|| {
            let hta: Vec<&str> = KNOWN.iter().map(|k| k.name).filter(|name| !name.contains('/')).collect();
            let hint = format!("use auto, folder, vtab, json, {} or vtab/TASK", hta.join(", "));
            Error::input("dataset", format!("unknown layout {name:?}"), hint)
        })
    }
}

impl TryFrom<String> for Layout {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Layout> for String {
    fn from(layout: Layout) -> String {
        layout.name().into()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The splits as a layout finds them; `val` may be missing.
#[derive(Default)]
pub(super) struct Splits {
    /// What they were read from.
    pub form: &'static str,
    pub classes: Vec<String>,
    pub train: Vec<Sample>,
    pub val: Option<Vec<Sample>>,
    pub test: Option<Vec<Sample>>,
    pub notes: Vec<String>,
    /// What lists name and is not there.
    pub missing: Vec<Missing>,
}

/// A data set that was found.
pub(super) struct Found {
    /// Not [`Layout::Auto`].
    pub layout: Layout,
    /// Its folder.
    pub files: Files,
    pub splits: Splits,
}

/// Finds and reads the data set at `path`, a folder or an archive: there, in the sub-folder where the published
/// program keeps it, or in the only sub-folder that has one. Archives in a folder are opened if what lies beside
/// them is not enough. `seed` decides the training sets that the published program draws.
pub(super) fn find(path: &Path, layout: Layout, seed: u64) -> Result<Found> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, "open the data", &e))?;
    if !meta.is_dir() {
        return locate(&Files::archive(path)?, layout, seed);
    }
    let bare = locate(&Files::folder(path), layout, seed);
    let enough = |found: &Found| {
        let known = matches!(found.layout, Layout::Known(_));
        found.splits.missing.is_empty() && (!known || found.splits.test.is_some())
    };
    if bare.as_ref().is_ok_and(enough) {
        return bare;
    }
    match Files::with_archives(path, &known::places(layout))? {
        Some(files) => locate(&files, layout, seed),
        None => bare,
    }
}

fn locate(files: &Files, layout: Layout, seed: u64) -> Result<Found> {
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
    Ok(Found { layout, files, splits })
}

/// Where data sets of a layout lie.
fn candidates(files: &Files, layout: Layout) -> Result<Vec<(Layout, Files)>> {
    if let Some(layout) = here(files, layout)? {
        return Ok(vec![(layout, files.clone())]);
    }
    let mut found = Vec::new();
    for known in KNOWN.iter().filter(|known| matches!(layout, Layout::Auto) || layout == Layout::Known(known))
    {
        if let Some(files) = known.place(files)? {
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

/// The layout of a folder, by the files that only one has.
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

/// Why no data set, or no single one, was found.
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

impl Found {
    /// One line: what was recognised, and where.
    pub fn recognised(&self) -> String {
        let mut line = format!("{}, {}", self.layout.title(), self.splits.form);
        line.push_str(&format!(", in {}", self.files.path("").display()));
        let archives: Vec<String> = self.files.archives().map(|path| path.display().to_string()).collect();
        if !archives.is_empty() {
            line.push_str(&format!(", read from {}", archives.join(", ")));
        }
        line
    }

    /// The published numbers for this form of the data set.
    pub fn expected(&self) -> Option<&'static Counts> {
        match self.layout {
            Layout::Known(known) => known.counts.iter().find(|counts| counts.form == self.splits.form),
            _ => None,
        }
    }
}

/// int(0.8 n), the share of training images that the published program keeps.
fn parts_of_80(n: usize) -> usize {
    (0.8 * n as f64) as usize
}

/// The published draw: shuffled, 80 % to train on, the rest to validate.
fn published_80(all: Vec<Sample>, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let order = shuffled(all.len(), seed);
    let (train, val) = order.split_at(parts_of_80(all.len()));
    let pick = |part: &[u32]| part.iter().map(|&i| all[i as usize].clone()).collect();
    (pick(train), pick(val))
}

/// (path, label) for each (class, path).
fn labelled(
    files: &Files,
    list: &str,
    entries: Vec<(String, String)>,
    classes: &[String],
) -> Result<Vec<(String, u32)>> {
    let label = |(class, path): (String, String)| match classes.binary_search(&class) {
        Ok(label) => Ok((path, label as u32)),
        Err(_) => {
            Err(lists::damaged(files, list, format!("has the class {class:?}, which training does not have")))
        }
    };
    entries.into_iter().map(label).collect()
}

/// A variable of a MATLAB file.
fn variable(files: &Files, file: &str, name: &str) -> Result<Array> {
    let damaged = |what: String| lists::damaged(files, file, what);
    let variables = mat::read(&files.read(file)?, &[name]).map_err(damaged)?;
    let found = variables.into_iter().next();
    found.map(|(_, array)| array).ok_or_else(|| damaged(format!("has no variable {name}")))
}
