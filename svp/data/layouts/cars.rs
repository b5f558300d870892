//! Stanford Cars with its own annotations, which come in two forms (`docs/data.md`).

use super::lists;
use super::published::{damaged, variable};
use super::splits::{MAT, Splits};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::mat::Array;

/// The annotations of the form with all images in one folder.
const JOINT: [&str; 2] = ["cars_annos.mat", "devkit/cars_annos.mat"];
/// The annotations of the form with a folder for training and one for test.
const TRAIN: [&str; 2] = ["devkit/cars_train_annos.mat", "cars_train_annos.mat"];
const TEST: [&str; 2] = ["cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"];
const NAMES: [&str; 2] = ["devkit/cars_meta.mat", "cars_meta.mat"];
/// The largest class number that is accepted.
const CLASSES: u32 = 1000;

pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(lists::first(files, &JOINT).or(lists::first(files, &TRAIN)).is_some())
}

pub(super) fn open(files: &Files) -> Result<Splits> {
    let mut splits = match lists::first(files, &JOINT) {
        Some(file) => joint(files, file)?,
        None => apart(files)?,
    };
    let labels = splits.train.iter().chain(splits.test.iter().flatten()).map(|sample| sample.label + 1);
    splits.classes = (1..=labels.max().unwrap_or(0)).map(|label| label.to_string()).collect();
    splits.classes = names(files, &splits)?;
    Ok(splits)
}

/// The names of the classes in `class_names`, if there is one for every class, or else their numbers.
pub(super) fn names(files: &Files, splits: &Splits) -> Result<Vec<String>> {
    let ids = splits.classes.clone();
    let Some(file) = lists::first(files, &JOINT).or(lists::first(files, &NAMES)) else {
        return Ok(ids);
    };
    let names = variable(files, file, "class_names")?.texts();
    Ok(names.filter(|names| names.len() >= ids.len()).unwrap_or(ids))
}

/// For each struct its path, its class from 0, and whether it belongs to the test split.
fn annotations(files: &Files, file: &str, path: &str) -> Result<Vec<(String, u32, bool)>> {
    let bad = || damaged(files, file, format!("has no structs `annotations` of {path} and class"));
    let array = variable(files, file, "annotations")?;
    let (paths, classes) = (array.field(path).ok_or_else(bad)?, array.field("class").ok_or_else(bad)?);
    let tests = array.field("test");
    let number = |array: &Array| array.integers()?.first().copied();
    let entry = |i: usize| {
        let class = number(classes[i]).filter(|class| (1..=CLASSES).contains(class))?;
        let test = tests.as_ref().and_then(|tests| number(tests[i])) == Some(1);
        Some((paths[i].text()?.to_string(), class - 1, test))
    };
    (0..paths.len()).map(entry).collect::<Option<_>>().ok_or_else(bad)
}

/// The splits of the form with all images in one folder.
fn joint(files: &Files, file: &str) -> Result<Splits> {
    let all = annotations(files, file, "relative_im_path")?;
    let mut missing = Vec::new();
    let mut split = |wanted: bool| {
        let entries = all.iter().filter(|(_, _, test)| *test == wanted);
        let entries = entries.map(|(path, class, _)| (path.clone(), *class)).collect();
        lists::samples(files, file, files, entries, &mut missing)
    };
    let (train, test) = (split(false), split(true));
    Ok(Splits { form: MAT, train, test: Some(test), missing, ..Splits::default() })
}

/// The splits of the form with two folders.
fn apart(files: &Files) -> Result<Splits> {
    let mut missing = Vec::new();
    let mut split = |file: &str, folder: &str| {
        let entries = annotations(files, file, "fname")?;
        let entries = entries.into_iter().map(|(path, class, _)| (path, class)).collect();
        Ok::<_, Error>(lists::samples(files, file, &files.inside(folder), entries, &mut missing))
    };
    let train_list = lists::first(files, &TRAIN).unwrap_or(TRAIN[0]);
    let train = split(train_list, "cars_train")?;
    let test = lists::first(files, &TEST).map(|file| split(file, "cars_test")).transpose()?;
    let mut notes = Vec::new();
    if test.is_none() && files.is_folder("cars_test") {
        notes.push(
            "cars_test is not used: cars_test_annos_withlabels.mat, with its labels, is missing".into(),
        );
    }
    Ok(Splits { form: MAT, train, test, notes, missing, ..Splits::default() })
}
