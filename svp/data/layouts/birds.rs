//! CUB-200-2011 and NABirds with their own text tables (`docs/data.md`).

use std::collections::{BTreeSet, HashMap};

use super::lists::{self, bad_line};
use super::published::damaged;
use super::splits::{Splits, TABLES};
use crate::error::Result;
use crate::files::Files;

const IMAGES: &str = "images.txt";
const LABELS: &str = "image_class_labels.txt";
const SPLIT: &str = "train_test_split.txt";
const NAMES: &str = "classes.txt";

/// Whether the first image of the tables is called by a number, as in CUB-200-2011. NABirds calls its images by long
/// texts. `None` if there are no tables.
fn first_image(files: &Files) -> Result<Option<bool>> {
    if !files.has(SPLIT) || !files.has(IMAGES) {
        return Ok(None);
    }
    let text = files.text(IMAGES)?;
    let first = lists::lines(&text).next().and_then(|(_, line)| line.split_once(' '));
    Ok(first.map(|(id, _)| id.bytes().all(|byte| byte.is_ascii_digit())))
}

pub(super) fn fits_cub(files: &Files) -> Result<bool> {
    Ok(first_image(files)? == Some(true))
}

pub(super) fn fits_nabirds(files: &Files) -> Result<bool> {
    Ok(first_image(files)? == Some(false))
}

/// Reads the tables. Classes are the ids of the labels in the order of their numbers; `classes.txt` names them.
pub(super) fn open(files: &Files) -> Result<Splits> {
    let labels = table(files, LABELS)?;
    let number = |class: &str| class.parse::<u32>().ok();
    let ids: Option<BTreeSet<u32>> = labels.iter().map(|(_, class)| number(class)).collect();
    let ids = ids.ok_or_else(|| damaged(files, LABELS, "has class ids that are no numbers"))?;
    let ranks: HashMap<u32, u32> = ids.iter().copied().zip(0..).collect();
    let labels: HashMap<String, u32> =
        labels.into_iter().filter_map(|(id, class)| Some((id, ranks[&number(&class)?]))).collect();
    let split: HashMap<String, String> = table(files, SPLIT)?.into_iter().collect();
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (id, path) in table(files, IMAGES)? {
        let label =
            labels.get(&id).ok_or_else(|| damaged(files, LABELS, format!("has no class for {id:?}")))?;
        match split.get(&id).map(String::as_str) {
            Some("1") => train.push((path, *label)),
            Some("0") => test.push((path, *label)),
            _ => return Err(damaged(files, SPLIT, format!("has no 0 or 1 for {id:?}"))),
        }
    }
    let images = files.at("images")?.unwrap_or_else(|| files.inside("images"));
    let mut missing = Vec::new();
    let train = lists::samples(files, IMAGES, &images, train, &mut missing);
    let test = lists::samples(files, IMAGES, &images, test, &mut missing);
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    let mut splits =
        Splits { form: TABLES, classes: ids, train, test: Some(test), missing, ..Splits::default() };
    splits.classes = names(files, &splits)?;
    Ok(splits)
}

/// The names of the classes in `classes.txt`, if it has one for each and no two are the same, or else their ids.
pub(super) fn names(files: &Files, splits: &Splits) -> Result<Vec<String>> {
    let ids = splits.classes.clone();
    if !files.has(NAMES) {
        return Ok(ids);
    }
    let number = |id: &str| id.parse::<u32>().ok();
    let names: HashMap<Option<u32>, String> =
        table(files, NAMES)?.into_iter().map(|(id, name)| (number(&id), name)).collect();
    let found: Option<Vec<String>> = ids.iter().map(|id| names.get(&number(id)).cloned()).collect();
    let different = |names: &Vec<String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    Ok(found.filter(different).unwrap_or(ids))
}

/// The rows of a table: an id and the rest of the line.
fn table(files: &Files, file: &str) -> Result<Vec<(String, String)>> {
    let text = files.text(file)?;
    let row = |(number, line): (usize, &str)| match line.split_once(' ') {
        Some((id, rest)) => Ok((id.to_string(), rest.trim().to_string())),
        None => Err(bad_line(files, file, number, line, "an id and a value")),
    };
    lists::lines(&text).map(row).collect()
}
