//! A labelled set of images and its splits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Rng;

use crate::archive::Archive;
use crate::augment::Augment;
use crate::decode::Turn;
use crate::error::{Error, Result};
use crate::layouts::{self, Layout, Recognised, Splits};
use crate::procedural::{self, Drawn, Task};
use crate::sample::Sample;
use crate::sha256::sha256_hex;
use crate::source::Source;
use crate::streams;
use crate::text;

mod labelled;

/// What is said where there is no test split.
const NO_TEST: &str = "no test split: accuracy is reported on val";

/// Class names and samples.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The name of its folder, or of the drawn task.
    pub name: String,
    /// How it lies on disk; [`Layout::Auto`] for a drawn task.
    pub layout: Layout,
    /// The folder that the paths of all files start with; empty for a drawn task.
    pub root: PathBuf,
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The samples to train on.
    pub train: Vec<Sample>,
    /// The samples to choose an epoch by; `None` where there are none, or where they are trained on.
    pub val: Option<Vec<Sample>>,
    /// The samples to report on; `None` where there are none.
    pub test: Option<Vec<Sample>>,
    /// The augmentation that leaves the labels true; `None` where every crop or mirror image could change them.
    pub augment: Option<Augment>,
    /// Facts for the log, each in a line.
    pub notes: Vec<String>,
    /// Whether nothing says which images are for test.
    unsplit: bool,
}

impl Dataset {
    /// Opens the data set at `path`, which is a folder, an archive, or a folder with archives in it. `seed` decides
    /// those training sets that the published program draws. Lists in the data set may name files outside of it only if
    /// `allow_outside` says so; a csv or jsonl file that is given itself may name any.
    ///
    /// # Errors
    /// A missing or contradictory split, an unknown or empty class, a listed file that is missing, a damaged archive,
    /// and a path with no data set or several.
    pub fn open(path: &Path, layout: Layout, seed: u64, allow_outside: bool) -> Result<Self> {
        let data = Self::of(layouts::find(path, layout, seed, allow_outside)?)?;
        let splits = [("train", Some(&data.train)), ("val", data.val.as_ref()), ("test", data.test.as_ref())];
        for (split, samples) in splits {
            if samples.is_some_and(Vec::is_empty) {
                let what = format!("the {split} split has no images");
                return Err(Error::path(&data.root, what, "fill or remove it"));
            }
        }
        if data.classes.len() < 2 {
            let what = format!("has {} class", data.classes.len());
            return Err(Error::path(&data.root, what, "training needs at least two classes"));
        }
        Ok(data)
    }

    /// The data set that was found, with what is to be told about it.
    fn of(found: Recognised) -> Result<Self> {
        let recognised = format!("data: {}", found.summary());
        let Recognised { layout, files, splits } = found;
        let Splits { classes, train, val, test, mut notes, missing, left_out, unsplit, .. } = splits;
        if let Some(missing) = missing.first() {
            return Err(missing.error());
        }
        let root = files.path("");
        notes.extend(left_out.iter().map(ToString::to_string));
        if test.is_none() && !unsplit {
            notes.push(NO_TEST.into());
        }
        notes.push(recognised);
        notes.iter_mut().for_each(|note| *note = text::shown(note).into_owned());
        let augment = Some(Augment::default());
        Ok(Dataset { name: files.name(), layout, root, classes, train, val, test, augment, notes, unsplit })
    }

    /// One of the tasks that are drawn by code: `count`, `orientation`, `position` or `shapes`.
    ///
    /// # Errors
    /// An unknown name.
    pub fn builtin(name: &str) -> Result<Self> {
        Ok(Dataset::drawn(name.parse::<Task>()?, procedural::SIZE))
    }

    /// A drawn task with pictures of `size` x `size` pixels.
    pub fn drawn(task: Task, size: u32) -> Dataset {
        let classes = task.classes();
        let split = |split: u32| -> Vec<Sample> {
            let sample = |index| {
                let source = Source::Drawn(Drawn { task, split, index, size });
                Sample::new(source, index % classes.len() as u32)
            };
            (0..task.counts()[split as usize]).map(sample).collect()
        };
        let (train, val, test) = (split(0), Some(split(1)), Some(split(2)));
        let layout = Layout::Auto;
        let notes = vec![format!("{}: drawn by code, {size}x{size}", task.name())];
        let name = task.name().to_string();
        let augment = task.augment();
        let root = PathBuf::new();
        Dataset { name, layout, root, classes, train, val, test, augment, notes, unsplit: false }
    }

    /// Makes a test split out of all samples, if nothing says which images are for what. Of every class with at least
    /// three samples, the share `fraction` is drawn by `seed`, which is at least one sample and never all but one. With
    /// a share of 0 there is no test split.
    ///
    /// # Errors
    /// A `fraction` that is below 0 or not below 1.
    pub fn hold_out_test(mut self, seed: u64, fraction: f64) -> Result<Self> {
        if !std::mem::take(&mut self.unsplit) {
            return Ok(self);
        }
        if !(0.0..1.0).contains(&fraction) {
            let what = format!("the share to hold out for test is {fraction}");
            return Err(Error::input("test-fraction", what, "use a number from 0 to below 1"));
        }
        let all = self.train.len();
        if fraction > 0.0 {
            // A validation split is drawn from what is left, so that two images of a class stay.
            let (test, train) = self.drawn_share(seed, streams::HOLD_OUT_TEST, fraction, 2);
            (self.train, self.test) = (train, Some(test).filter(|test| !test.is_empty()));
        }
        self.notes.push(match &self.test {
            Some(test) => {
                let n = test.len();
                format!("no splits: held out {n} of {all} images for test, stratified, seed {seed}")
            }
            None => NO_TEST.into(),
        });
        Ok(self)
    }

    /// Training samples, parted into the drawn share of every class and the rest, of which each class keeps at least
    /// `least`. Both parts keep their order.
    fn drawn_share(
        &mut self,
        seed: u64,
        stream: u32,
        fraction: f64,
        least: usize,
    ) -> (Vec<Sample>, Vec<Sample>) {
        let samples = std::mem::take(&mut self.train);
        let mut members = vec![Vec::new(); self.classes.len()];
        samples.iter().enumerate().for_each(|(i, sample)| members[sample.label as usize].push(i));
        let mut held = vec![false; samples.len()];
        for (class, members) in members.iter_mut().enumerate() {
            Rng::keyed(seed, 0, class as u32, stream).shuffle(members);
            let most = members.len().saturating_sub(least);
            let count = ((members.len() as f64 * fraction).round() as usize).max(1).min(most);
            members[..count].iter().for_each(|&i| held[i] = true);
        }
        let mut held = held.into_iter();
        samples.into_iter().partition(|_| held.next() == Some(true))
    }

    /// Makes a validation split out of training samples, unless there is one. Of every class with at least two samples,
    /// the share `fraction` is drawn by `seed`, which is at least one sample and never all. Both parts keep their order.
    ///
    /// # Errors
    /// A `fraction` that is not between 0 and 1, and a data set in which no class has two samples.
    pub fn hold_out(mut self, seed: u64, fraction: f64) -> Result<Self> {
        if self.val.is_some() {
            return Ok(self);
        }
        if !(fraction > 0.0 && fraction < 1.0) {
            let what = format!("the share to hold out for validation is {fraction}");
            return Err(Error::input("val-fraction", what, "use a number between 0 and 1"));
        }
        let all = self.train.len();
        let (val, train) = self.drawn_share(seed, streams::HOLD_OUT, fraction, 1);
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

    /// Turns pictures upright, or not, that were taken with a turned camera.
    pub fn turned(mut self, turn: Turn) -> Self {
        let splits = [Some(&mut self.train), self.val.as_mut(), self.test.as_mut()];
        splits.into_iter().flatten().flatten().for_each(|sample| sample.turn = turn);
        self
    }

    /// Appends the validation samples to the training samples. Nothing is left to choose an epoch by.
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

    /// Checks that the archives which images are read from are still the files that were opened: as long, changed last at
    /// the same time, and not replaced. This reads nothing but what the system knows of the files.
    ///
    /// Array files (pickles, `.mat`, binary files) and lists are read once, when the data set is opened, so that no change
    /// of theirs can reach a run. Image files in folders are opened whenever they are needed, and are not checked.
    ///
    /// # Errors
    /// An archive that was changed, replaced or removed.
    pub fn unchanged(&self) -> Result<()> {
        let mut checked: Vec<&Arc<Archive>> = Vec::new();
        for archive in self.all().filter_map(|sample| sample.source.archive()) {
            if !checked.iter().any(|one| Arc::ptr_eq(one, archive)) {
                archive.unchanged()?;
                checked.push(archive);
            }
        }
        Ok(())
    }

    /// A stable hash (SHA-256 as 64 hex digits) of the class names, and of the paths below the root and the labels of
    /// all splits in order. Two runs with the same fingerprint train on the same samples; the pixels do not count.
    pub fn fingerprint(&self) -> String {
        let splits = [("train", Some(&self.train)), ("val", self.val.as_ref()), ("test", self.test.as_ref())];
        sha256_hex(|hash| {
            let mut put = |bytes: &[u8]| {
                hash(&(bytes.len() as u64).to_le_bytes());
                hash(bytes);
            };
            self.classes.iter().for_each(|class| put(class.as_bytes()));
            for (split, samples) in splits {
                put(split.as_bytes());
                for sample in samples.into_iter().flatten() {
                    let path = sample.source.path();
                    put(path.strip_prefix(&self.root).unwrap_or(&path).as_os_str().as_encoded_bytes());
                    put(&sample.label.to_le_bytes());
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
