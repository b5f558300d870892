//! A labelled set of images with its splits.

use std::path::{Path, PathBuf};

use engine::Rng;
use sha2::{Digest, Sha256};

use super::layouts::{self, Found, Splits};
use super::pixels::Picture;
use super::{Augment, Layout, Source, Task, procedural, stream};
use crate::{Error, Result};

/// One picture and its class.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub source: Source,
    /// Index into [`Dataset::classes`].
    pub label: u32,
}

impl Sample {
    pub(super) fn picture(picture: Picture, label: u32) -> Self {
        Sample { source: Source::Picture(picture), label }
    }
}

/// Class names and samples.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub name: String,
    /// How it lies on disk; [`Layout::Auto`] for a drawn task.
    pub layout: Layout,
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

impl Dataset {
    /// Opens the data set at `path`: a folder, an archive, or a folder with archives in it. Where it has no
    /// validation split, `val_fraction` of the training samples of every class is held out, drawn by `seed`.
    ///
    /// # Errors
    /// A missing or contradictory split, an unknown or empty class, a listed file that is not there, a damaged
    /// archive, and a place with no or several data sets.
    pub fn open(path: &Path, layout: Layout, seed: u64, val_fraction: f64) -> Result<Self> {
        let found = layouts::find(path, layout, seed)?;
        let recognised = format!("data: {}", found.recognised());
        let Found { layout, files, splits } = found;
        let Splits { classes, train, val, test, mut notes, missing, .. } = splits;
        if let Some(missing) = missing.first() {
            return Err(missing.error());
        }
        let root = files.path("");
        if classes.len() < 2 {
            let what = format!("has {} class", classes.len());
            return Err(Error::path(&root, what, "training needs at least two classes"));
        }
        let (train, val) = match val {
            Some(val) => (train, val),
            None => hold_out(&root, train, classes.len(), seed, val_fraction, &mut notes)?,
        };
        for (split, samples) in [("train", Some(&train)), ("val", Some(&val)), ("test", test.as_ref())] {
            if samples.is_some_and(Vec::is_empty) {
                return Err(Error::path(
                    &root,
                    format!("the {split} split has no images"),
                    "fill or remove it",
                ));
            }
        }
        if test.is_none() {
            notes.push("no test split: accuracy is reported on val".into());
        }
        notes.push(recognised);
        let augment = Some(Augment::default());
        Ok(Dataset { name: files.name(), layout, root, classes, train, val, test, augment, notes })
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
                let path = sample.source.path();
                put(path.strip_prefix(&self.root).unwrap_or(&path).as_os_str().as_encoded_bytes());
                put(&sample.label.to_le_bytes());
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
