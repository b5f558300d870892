//! A labelled set of images with its splits.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use engine::Rng;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::procedural::Drawn;
use super::{Augment, Task, decode, folder, json, procedural, stream, vtab};
use crate::{Error, Result};

/// Where the picture of a sample comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// An image file.
    File(Arc<Path>),
    /// A picture drawn by code.
    Drawn(Drawn),
}

impl Source {
    /// The 8-bit picture.
    ///
    /// # Errors
    /// A file that cannot be read or decoded.
    pub fn load(&self) -> Result<RgbImage> {
        match self {
            Source::File(path) => decode::read(path),
            Source::Drawn(drawn) => Ok(drawn.draw()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            Source::Drawn(drawn) => drawn.fmt(f),
        }
    }
}

/// One picture and its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub source: Source,
    /// Index into [`Dataset::classes`].
    pub label: u32,
}

impl Sample {
    pub(super) fn file(path: PathBuf, label: u32) -> Self {
        Sample { source: Source::File(path.into()), label }
    }
}

/// How a data set lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Layout::Auto),
            "folder" => Ok(Layout::Folder),
            "vtab" => Ok(Layout::Vtab),
            "json" => Ok(Layout::Json),
            _ => Err(Error::input(
                "dataset",
                format!("unknown layout {name:?}"),
                "use auto, folder, vtab or json",
            )),
        }
    }
}

/// Class names and samples.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub name: String,
    /// Folder that the paths start with; empty for a drawn task.
    pub root: PathBuf,
    pub classes: Vec<String>,
    pub train: Vec<Sample>,
    pub val: Vec<Sample>,
    pub test: Option<Vec<Sample>>,
    /// Augmentation that leaves the labels true; `None` where every crop or mirror image could change them.
    pub augment: Option<Augment>,
    /// Facts for the log, a line each.
    pub notes: Vec<String>,
}

/// The splits as a layout finds them; `val` may be missing.
pub(super) struct Splits {
    pub classes: Vec<String>,
    pub train: Vec<Sample>,
    pub val: Option<Vec<Sample>>,
    pub test: Option<Vec<Sample>>,
    pub notes: Vec<String>,
}

impl Dataset {
    /// Opens the data set in `dir`. Where it has no validation split, `val_fraction` of the training samples of
    /// every class is held out, drawn by `seed`.
    ///
    /// # Errors
    /// A missing or contradictory split, an unknown or empty class, a listed file that is not there.
    pub fn open(dir: &Path, layout: Layout, seed: u64, val_fraction: f64) -> Result<Self> {
        let meta = std::fs::metadata(dir).map_err(|e| Error::io(dir, "open the data", &e))?;
        if !meta.is_dir() {
            return Err(Error::path(dir, "is not a folder", "unpack an archive first"));
        }
        let splits = match layout {
            Layout::Auto => return Self::open(dir, detect(dir)?, seed, val_fraction),
            Layout::Folder => folder::open(dir)?,
            Layout::Vtab => vtab::open(dir)?,
            Layout::Json => json::open(dir)?,
        };
        let Splits { classes, train, val, test, mut notes } = splits;
        if classes.len() < 2 {
            let what = format!("has {} class", classes.len());
            return Err(Error::path(dir, what, "training needs at least two classes"));
        }
        let (train, val) = match val {
            Some(val) => (train, val),
            None => hold_out(dir, train, classes.len(), seed, val_fraction, &mut notes)?,
        };
        for (split, samples) in [("train", Some(&train)), ("val", Some(&val)), ("test", test.as_ref())] {
            if samples.is_some_and(Vec::is_empty) {
                return Err(Error::path(
                    dir,
                    format!("the {split} split has no images"),
                    "fill or remove it",
                ));
            }
        }
        if test.is_none() {
            notes.push("no test split: accuracy is reported on val".into());
        }
        let named = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        let name = named.file_name().unwrap_or(named.as_os_str()).to_string_lossy().into_owned();
        let augment = Some(Augment::default());
        Ok(Dataset { name, root: dir.to_path_buf(), classes, train, val, test, augment, notes })
    }

    /// One of the tasks drawn by code: `count`, `orientation`, `position` or `shapes`.
    ///
    /// # Errors
    /// An unknown name.
    pub fn builtin(name: &str) -> Result<Self> {
        Ok(Dataset::drawn(name.parse::<Task>()?, procedural::SIZE))
    }

    /// A stable hash (hex SHA-256) of the classes and of paths below the root and labels of all splits in
    /// order: two runs with the same fingerprint train on the same samples. The pixels do not enter.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut put = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        self.classes.iter().for_each(|class| put(class.as_bytes()));
        let splits = [("train", Some(&self.train)), ("val", Some(&self.val)), ("test", self.test.as_ref())];
        for (split, samples) in splits {
            put(split.as_bytes());
            for sample in samples.into_iter().flatten() {
                match &sample.source {
                    Source::File(path) => {
                        put(path.strip_prefix(&self.root).unwrap_or(path).as_os_str().as_encoded_bytes())
                    }
                    Source::Drawn(drawn) => put(drawn.to_string().as_bytes()),
                }
                put(&sample.label.to_le_bytes());
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The layout of a folder, by the files that only one of them has.
fn detect(dir: &Path) -> Result<Layout> {
    if vtab::LISTS.iter().any(|list| dir.join(list).is_file()) {
        Ok(Layout::Vtab)
    } else if dir.join("train.json").is_file() {
        Ok(Layout::Json)
    } else if folder::split_dir(dir, &["train"])?.is_some() {
        Ok(Layout::Folder)
    } else {
        let what = "has none of train/CLASS/*, train800.txt, train800val200.txt, train.json";
        Err(Error::path(dir, what, "point to the folder that holds one of them"))
    }
}

/// Splits off a validation set: of every class with at least two samples `fraction` (at least one, never all).
/// Both parts keep their order.
fn hold_out(
    dir: &Path,
    train: Vec<Sample>,
    classes: usize,
    seed: u64,
    fraction: f64,
    notes: &mut Vec<String>,
) -> Result<(Vec<Sample>, Vec<Sample>)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        let what = format!("the share to hold out for validation is {fraction}");
        return Err(Error::input("val-fraction", what, "use a number between 0 and 1"));
    }
    let mut members = vec![Vec::new(); classes];
    train.iter().enumerate().for_each(|(i, sample)| members[sample.label as usize].push(i));
    let mut held = vec![false; train.len()];
    for (class, members) in members.iter_mut().enumerate() {
        Rng::keyed(seed, 0, class as u32, stream::HOLD_OUT).shuffle(members);
        let most = members.len().saturating_sub(1);
        let count = ((members.len() as f64 * fraction).round() as usize).max(1).min(most);
        members[..count].iter().for_each(|&i| held[i] = true);
    }
    let mut held = held.into_iter();
    let (val, train): (Vec<_>, Vec<_>) = train.into_iter().partition(|_| held.next() == Some(true));
    if val.is_empty() {
        let what = "has no val split and no class with two images to hold one out";
        return Err(Error::path(dir, what, "add images or a val split"));
    }
    let (n, all) = (val.len(), val.len() + train.len());
    notes.push(format!("no val split: held out {n} of {all} training images, stratified, seed {seed}"));
    Ok((train, val))
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
