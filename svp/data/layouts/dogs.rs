//! Stanford Dogs with its own annotations: `train_list.mat` and `test_list.mat`.

use super::lists::{self, Missing};
use super::published::{damaged, variable};
use super::splits::{MAT, Splits};
use crate::error::Result;
use crate::files::Files;
use crate::sample::Sample;

const TRAIN: [&str; 2] = ["train_list.mat", "lists/train_list.mat"];
const TEST: [&str; 2] = ["test_list.mat", "lists/test_list.mat"];
/// The largest class number that is accepted.
const CLASSES: u32 = 1000;

pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(lists::first(files, &TRAIN).is_some())
}

pub(super) fn open(files: &Files) -> Result<Splits> {
    let images = files.at("images")?.unwrap_or_else(|| files.inside("Images"));
    let mut missing = Vec::new();
    let mut classes = Vec::new();
    let train_list = lists::first(files, &TRAIN).unwrap_or(TRAIN[0]);
    let train = read(files, train_list, &images, &mut classes, &mut missing)?;
    let test = lists::first(files, &TEST);
    let test = test.map(|list| read(files, list, &images, &mut classes, &mut missing)).transpose()?;
    Ok(Splits { form: MAT, classes, train, test, missing, ..Splits::default() })
}

/// Names each class by the folder of its images.
pub(super) fn names(_: &Files, splits: &Splits) -> Result<Vec<String>> {
    let mut names = splits.classes.clone();
    for sample in &splits.train {
        let path = sample.source.path();
        if let Some(folder) = path.parent().and_then(|folder| folder.file_name()) {
            names[sample.label as usize] = folder.to_string_lossy().into();
        }
    }
    Ok(names)
}

/// Reads a list, in which `file_list` holds paths below the folder of images and `labels` their classes from 1. The
/// folders name the classes.
fn read(
    files: &Files,
    list: &str,
    images: &Files,
    classes: &mut Vec<String>,
    missing: &mut Vec<Missing>,
) -> Result<Vec<Sample>> {
    let (paths, labels) = (variable(files, list, "file_list")?, variable(files, list, "labels")?);
    let bad = |what: &str| damaged(files, list, what);
    let paths = paths.texts().ok_or_else(|| bad("file_list is no list of texts"))?;
    let labels = labels.integers().filter(|labels| labels.iter().all(|label| (1..=CLASSES).contains(label)));
    let labels = labels.ok_or_else(|| bad("labels are not classes from 1"))?;
    if paths.len() != labels.len() {
        return Err(bad("does not have as many labels as paths"));
    }
    for (path, &label) in paths.iter().zip(&labels) {
        let (at, name) = (label as usize - 1, path.split('/').next().unwrap_or(path));
        // A class has its number for a name until its first image comes.
        (classes.len()..=at).for_each(|label| classes.push((label + 1).to_string()));
        classes[at] = name.into();
    }
    let entries = paths.into_iter().zip(labels.into_iter().map(|label| label - 1)).collect();
    Ok(lists::samples(files, list, images, entries, missing))
}
