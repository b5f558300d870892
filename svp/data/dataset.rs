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
    /// `None` where there is none, or where it is trained on.
    pub val: Option<Vec<Sample>>,
    pub test: Option<Vec<Sample>>,
    /// Augmentation that leaves the labels true; `None` where every crop or mirror image could change them.
    pub augment: Option<Augment>,
    /// Facts for the log, a line each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Opens the data set at `path`: a folder, an archive, or a folder with archives in it. `seed` decides the
    /// training sets that the published program draws.
    ///
    /// # Errors
    /// A missing or contradictory split, an unknown or empty class, a listed file that is not there, a damaged
    /// archive, and a place with no or several data sets.
    pub fn open(path: &Path, layout: Layout, seed: u64) -> Result<Self> {
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
        for (split, samples) in [("train", Some(&train)), ("val", val.as_ref()), ("test", test.as_ref())] {
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

    /// Where there is no validation split, makes one of the training samples: of every class with at least two,
    /// `fraction` drawn by `seed` (at least one, never all). Both parts keep their order.
    ///
    /// # Errors
    /// A `fraction` that is not between 0 and 1, and no class with two samples.
    pub fn hold_out(mut self, seed: u64, fraction: f64) -> Result<Self> {
        if self.val.is_some() {
            return Ok(self);
        }
        if !(fraction > 0.0 && fraction < 1.0) {
            let what = format!("the share to hold out for validation is {fraction}");
            return Err(Error::input("val-fraction", what, "use a number between 0 and 1"));
        }
        let all = self.train.len();
        let mut members = vec![Vec::new(); self.classes.len()];
        self.train.iter().enumerate().for_each(|(i, sample)| members[sample.label as usize].push(i));
        let mut held = vec![false; all];
        for (class, members) in members.iter_mut().enumerate() {
            Rng::keyed(seed, 0, class as u32, stream::HOLD_OUT).shuffle(members);
            let most = members.len().saturating_sub(1);
            let count = ((members.len() as f64 * fraction).round() as usize).max(1).min(most);
            members[..count].iter().for_each(|&i| held[i] = true);
        }
        let mut held = held.into_iter();
        let (val, train): (Vec<_>, Vec<_>) = self.train.into_iter().partition(|_| held.next() == Some(true));
        if val.is_empty() {
            let what = "has no val split and no class with two images to hold one out";
            return Err(Error::path(&self.root, what, "add images or a val split"));
        }
        let n = val.len();
        self.notes
            .push(format!("no val split: held out {n} of {all} training images, stratified, seed {seed}"));
        (self.train, self.val) = (train, Some(val));
        Ok(self)
    }

    /// Makes the validation samples training samples, after the others. Nothing is left to choose an epoch on.
    pub fn train_on_val(mut self) -> Self {
        let note = match self.val.take() {
            Some(val) => {
                let n = val.len();
                self.train.extend(val);
                format!("trained on the {n} images of the val split too, {} in all", self.train.len())
            }
            None => format!("no val split: trained on all {} images, none held out", self.train.len()),
        };
        self.notes.push(note);
        self
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
        let splits = [("train", Some(&self.train)), ("val", self.val.as_ref()), ("test", self.test.as_ref())];
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

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
