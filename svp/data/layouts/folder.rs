//! Image folders: `train/CLASS/*`, `val/CLASS/*`, `test/CLASS/*` (`docs/data.md`).

use super::splits::{FOLDERS, Splits};
use crate::decode;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::sample::Sample;
use crate::source::Source;

/// Whether there is a folder `train`.
pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(files.dir(&["train"])?.is_some())
}

/// Reads the splits. Classes are the folders of `train`, sorted by the bytes of their names, and hold for all splits.
pub(super) fn open(files: &Files) -> Result<Splits> {
    let train_dir = files
        .dir(&["train"])?
        .ok_or_else(|| Error::path(&files.path(""), "has no folder train", "put images into train/CLASS/"))?;
    let mut other_files = 0;
    let mut train = Vec::new();
    let classes = files.folders(&train_dir)?;
    for (label, class) in classes.iter().enumerate() {
        let folder = format!("{train_dir}/{class}");
        let images = images(files, &folder, &mut other_files)?;
        if images.is_empty() {
            let what = format!("has no image ({})", decode::EXTENSIONS.join(", "));
            return Err(Error::path(&files.path(&folder), what, "fill or remove the class folder"));
        }
        train.extend(images.into_iter().map(|source| Sample { source, label: label as u32 }));
    }
    let mut other = |names: &[&str]| {
        let found = files.dir(names)?;
        found.map(|split| known_classes(files, &split, &classes, &mut other_files)).transpose()
    };
    let val = other(&["val", "valid", "validation"])?;
    let test = other(&["test"])?;
    let mut notes = Vec::new();
    if other_files > 0 {
        notes.push(format!("left out because their names are not those of images: {other_files} files"));
    }
    Ok(Splits { form: FOLDERS, classes, train, val, test, notes, ..Splits::default() })
}

/// The samples of a split, which may not have classes of its own.
fn known_classes(
    files: &Files,
    split: &str,
    classes: &[String],
    other_files: &mut usize,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for name in files.folders(split)? {
        let folder = format!("{split}/{name}");
        let label = classes.binary_search(&name).map_err(|_| {
            let what = "is a class that train does not have";
            Error::path(&files.path(&folder), what, "remove or rename the folder")
        })?;
        let images = images(files, &folder, other_files)?;
        samples.extend(images.into_iter().map(|source| Sample { source, label: label as u32 }));
    }
    Ok(samples)
}

/// The image files below a folder. Files whose names are not those of images are counted.
fn images(files: &Files, folder: &str, other_files: &mut usize) -> Result<Vec<Source>> {
    let all = files.below(folder)?;
    let count = all.len();
    let images: Vec<Source> = all.into_iter().filter(|file| decode::is_image_name(&file.path())).collect();
    *other_files += count - images.len();
    Ok(images)
}
