//! Image folders: `train/CLASS/*`, `val/CLASS/*`, `test/CLASS/*`, or `CLASS/*` alone (`docs/data.md`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::splits::{CLASSES, FOLDERS, LeftOut, Purpose, Split, Splits, TEST_NAMES, TRAIN_NAMES, VAL_NAMES};
use crate::decode;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::sample::Sample;
use crate::source::Source;
use crate::text::{self, count, first};

/// Whether there is a folder of training images; to measure on, of any split.
pub(super) fn fits(files: &Files, purpose: Purpose) -> Result<bool> {
    let [train, val, test] = split_dirs(files)?;
    Ok(train.is_some() || purpose == Purpose::Measure && (val.is_some() || test.is_some()))
}

/// The folders of the splits.
fn split_dirs(files: &Files) -> Result<[Option<String>; 3]> {
    Ok([files.dir(&TRAIN_NAMES)?, files.dir(&VAL_NAMES)?, files.dir(&TEST_NAMES)?])
}

/// Whether there are class folders that no split folder holds: at least so many with images, and no folder that is
/// called like a split.
pub(super) fn fits_classes(files: &Files, least: usize) -> Result<bool> {
    let folders = files.folders("")?;
    if folders.iter().any(|name| Split::named(name).is_some()) {
        return Ok(false);
    }
    let mut with_images = 0;
    for folder in &folders {
        with_images += usize::from(files.below(folder)?.iter().any(is_image));
        if with_images == least {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the splits. Classes are the folders of `train`, sorted by the bytes of their names, and hold for all splits.
/// Without a folder `train`, the folders are the classes. To measure on, each split may have classes of its own.
pub(super) fn open(files: &Files, purpose: Purpose) -> Result<Splits> {
    let mut reader = Reader { files, others: Vec::new(), left_out: Vec::new() };
    let least = if purpose == Purpose::Measure { 1 } else { 2 };
    let mut splits = match files.dir(&TRAIN_NAMES)? {
        _ if purpose == Purpose::Measure && fits(files, purpose)? => reader.labelled_folders()?,
        Some(train) => reader.split_folders(&train)?,
        None if fits_classes(files, least)? => reader.class_folders()?,
        None => {
            let what = "has no folder train, and no two folders with images";
            return Err(Error::path(&files.path(""), what, "put images into train/CLASS/ or CLASS/"));
        }
    };
    splits.notes = text::left_out(&reader.others, &files.passed_over());
    splits.left_out = reader.left_out;
    let unread: Vec<PathBuf> =
        reader.others.into_iter().filter(|path| decode::is_unread_name(path)).collect();
    if let Some(one) = unread.first() {
        // The line about them is a fault and not a note.
        splits.notes.remove(0);
        let n = count(unread.len(), "picture");
        splits.left_out.push(LeftOut {
            at: one.clone(),
            what: format!("{n} of formats that are not read ({})", text::endings(&unread)),
            mend: text::CONVERT.into(),
            fault: true,
        });
    }
    Ok(splits)
}

fn is_image(source: &Source) -> bool {
    decode::is_image_name(&source.path())
}

/// Reads folders and collects what is left out.
struct Reader<'a> {
    files: &'a Files,
    /// Files that are no images.
    others: Vec<PathBuf>,
    left_out: Vec<LeftOut>,
}

impl Reader<'_> {
    fn split_folders(&mut self, train_dir: &str) -> Result<Splits> {
        let files = self.files;
        let classes = files.folders(train_dir)?;
        let loose = self.loose(train_dir)?;
        if classes.is_empty() && !loose.is_empty() {
            let what = format!("has {} and no class folders", count(loose.len(), "image"));
            let hint = "put them into train/CLASS/, or give --data a csv file of path and label";
            return Err(Error::path(&files.path(train_dir), what, hint));
        }
        self.leave_out_loose(train_dir, &loose);
        let train = self.classes(train_dir, &classes)?;
        let [_, val_dir, test_dir] = split_dirs(files)?;
        let mut other = |dir: &Option<String>, split| {
            dir.as_deref().map_or(Ok(None), |dir| self.known_classes(dir, split, &classes))
        };
        let (val, test) = (other(&val_dir, Split::Val)?, other(&test_dir, Split::Test)?);
        self.leave_out_rest()?;
        Ok(Splits { form: FOLDERS, classes, train, val, test, ..Splits::default() })
    }

    /// The splits that are there, of which each may have classes that others do not have.
    fn labelled_folders(&mut self) -> Result<Splits> {
        let files = self.files;
        let dirs = split_dirs(files)?;
        let mut classes = BTreeSet::new();
        for dir in dirs.iter().flatten() {
            classes.extend(files.folders(dir)?);
        }
        let classes: Vec<String> = classes.into_iter().collect();
        let mut parts = [None, None, None];
        for ((dir, split), part) in dirs.iter().zip([Split::Train, Split::Val, Split::Test]).zip(&mut parts) {
            if let Some(dir) = dir {
                *part = self.known_classes(dir, split, &classes)?.filter(|samples| !samples.is_empty());
            }
        }
        let [train, val, test] = parts;
        self.leave_out_rest()?;
        Ok(Splits {
            form: FOLDERS,
            classes,
            train: train.unwrap_or_default(),
            val,
            test,
            ..Splits::default()
        })
    }

    /// Leaves out what lies beside the folders of splits.
    fn leave_out_rest(&mut self) -> Result<()> {
        let loose = self.loose("")?;
        self.leave_out_loose("", &loose);
        for folder in self.files.folders("")? {
            if Split::named(&folder).is_none() {
                self.leave_out_folder(&folder, "is no split (train, val or test)")?;
            }
        }
        Ok(())
    }

    /// The classes directly below the data set's folder.
    fn class_folders(&mut self) -> Result<Splits> {
        let loose = self.loose("")?;
        self.leave_out_loose("", &loose);
        let mut classes = Vec::new();
        for folder in self.files.folders("")? {
            if self.files.below(&folder)?.iter().any(is_image) {
                classes.push(folder);
            } else {
                self.leave_out_folder(&folder, "has no images")?;
            }
        }
        let train = self.classes("", &classes)?;
        Ok(Splits { form: CLASSES, classes, train, unsplit: true, ..Splits::default() })
    }

    /// The samples of the class folders in a folder, each of which must have images.
    fn classes(&mut self, parent: &str, classes: &[String]) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for (label, class) in classes.iter().enumerate() {
            let folder = join(parent, class);
            let before = self.others.len();
            let images = self.images(&folder)?;
            if images.is_empty() {
                return Err(self.no_image(&folder, before));
            }
            samples.extend(images.into_iter().map(|source| Sample::new(source, label as u32)));
        }
        Ok(samples)
    }

    /// The error about a class folder without an image. What else it has came to the others.
    fn no_image(&self, folder: &str, before: usize) -> Error {
        let others = &self.others[before..];
        let mut what = format!("has no image ({})", decode::EXTENSIONS.join(", "));
        if !others.is_empty() {
            what.push_str(&format!(", but {}", text::endings(others)));
        }
        let hint = match others.iter().any(|path| decode::is_unread_name(path)) {
            true => text::CONVERT,
            false => "fill or remove the class folder",
        };
        Error::path(&self.files.path(folder), what, hint)
    }

    /// The samples of a split, which may not have classes of its own. `None` if its images lie in no class folders.
    fn known_classes(&mut self, dir: &str, split: Split, classes: &[String]) -> Result<Option<Vec<Sample>>> {
        let loose = self.loose(dir)?;
        let mut folders = self.files.folders(dir)?;
        let known = |name: &String| classes.binary_search(name).is_ok();
        let mut unlabelled = false;
        if split == Split::Test && folders.len() == 1 && !folders.iter().any(known) {
            // One folder for all of them, as competitions have it.
            unlabelled = self.leave_out_unlabelled(dir, &folders[0])?;
            folders.clear();
        }
        let mut samples = Vec::new();
        for name in &folders {
            let folder = join(dir, name);
            let label = classes.binary_search(name).map_err(|_| {
                let same = classes.iter().find(|class| class.eq_ignore_ascii_case(name));
                let what = match same {
                    Some(class) => format!("is a class that train does not have; there it is {class:?}"),
                    None => "is a class that train does not have".into(),
                };
                Error::path(&self.files.path(&folder), what, "remove or rename the folder")
            })?;
            let images = self.images(&folder)?;
            samples.extend(images.into_iter().map(|source| Sample::new(source, label as u32)));
        }
        if samples.is_empty() && !loose.is_empty() {
            self.left_out.push(self.unlabelled(dir, loose.len(), split));
            return Ok(None);
        }
        self.leave_out_loose(dir, &loose);
        Ok((!unlabelled).then_some(samples))
    }

    /// Leaves out the images of a test split that lie in one folder that is no class. Whether there are any.
    fn leave_out_unlabelled(&mut self, dir: &str, folder: &str) -> Result<bool> {
        let folder = join(dir, folder);
        let images = self.images(&folder)?;
        if !images.is_empty() {
            self.left_out.push(self.unlabelled(&folder, images.len(), Split::Test));
        }
        Ok(!images.is_empty())
    }

    fn unlabelled(&self, folder: &str, images: usize, split: Split) -> LeftOut {
        let (name, mend) = match split {
            Split::Test => ("test", "to predict their classes, give the folder to svp-predict"),
            Split::Val => ("val", "put them into a folder for each class"),
            Split::Train => ("train", "put them into a folder for each class"),
        };
        let n = count(images, "image");
        LeftOut {
            at: self.files.path(folder),
            what: format!(
                "{n} in no class folder, so that their classes are unknown: there is no {name} split"
            ),
            mend: mend.into(),
            fault: split != Split::Test,
        }
    }

    /// The images directly in a folder.
    fn loose(&mut self, folder: &str) -> Result<Vec<String>> {
        let mut images = Vec::new();
        for entry in self.files.list(folder)?.iter().filter(|entry| !entry.is_folder) {
            let path = self.files.path(&join(folder, &entry.name));
            match decode::is_image_name(&path) {
                true => images.push(entry.name.clone()),
                false => self.others.push(path),
            }
        }
        Ok(images)
    }

    fn leave_out_loose(&mut self, folder: &str, images: &[String]) {
        if !images.is_empty() {
            let n = count(images.len(), "image");
            self.left_out.push(LeftOut {
                at: self.files.path(folder),
                what: format!(
                    "{n} in no class folder: {}",
                    first(images.iter().map(|name| text::shown(name)))
                ),
                mend: "put them into the folder of their class".into(),
                fault: true,
            });
        }
    }

    /// Leaves out a folder in which no class is looked for.
    fn leave_out_folder(&mut self, folder: &str, why: &str) -> Result<()> {
        let images = self.images(folder)?.len();
        if images > 0 {
            self.left_out.push(LeftOut {
                at: self.files.path(folder),
                what: format!("the folder {why}; it has {}", count(images, "image")),
                mend: "rename it if it should be one, or move it elsewhere".into(),
                fault: true,
            });
        }
        Ok(())
    }

    /// The image files below a folder. Others are collected.
    fn images(&mut self, folder: &str) -> Result<Vec<Source>> {
        let (images, others): (Vec<Source>, Vec<Source>) =
            self.files.below(folder)?.into_iter().partition(is_image);
        self.others.extend(others.iter().map(Source::path));
        Ok(images)
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.into() } else { format!("{folder}/{name}") }
}
