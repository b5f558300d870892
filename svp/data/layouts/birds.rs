//! CUB-200-2011 and NABirds with their own text tables, and sets that have tables like these (`docs/data.md`).

use std::collections::{BTreeSet, HashMap};

use super::known::published as published_key;
use super::lists::{self, bad_line};
use super::splits::{self, Id, Splits, TABLES};
use crate::error::{Error, Result};
use crate::files::Files;

const IMAGES: &str = "images.txt";
const LABELS: &str = "image_class_labels.txt";
const SPLIT: &str = "train_test_split.txt";
const NAMES: &str = "classes.txt";

/// Whether there are such tables, whosever they are.
pub(super) fn fits(files: &Files) -> bool {
    [IMAGES, LABELS, SPLIT].iter().all(|table| files.has(table))
}

pub(super) fn fits_cub(files: &Files) -> Result<bool> {
    Ok(fits(files) && published_line(files)? == Ok("cub200"))
}

pub(super) fn fits_nabirds(files: &Files) -> Result<bool> {
    Ok(fits(files) && published_line(files)? == Ok("nabirds"))
}

/// The data set whose tables begin like these, or else their first line: CUB-200-2011 numbers its images and has paths
/// like `001.Albatross/A_1.jpg`, NABirds calls them by long texts and has paths like `0817/a1.jpg`.
fn published_line(files: &Files) -> Result<std::result::Result<&'static str, String>> {
    let text = files.text(IMAGES)?;
    let Some((_, line)) = lists::lines(&text).next() else { return Ok(Err(String::new())) };
    let Some((id, path)) = line.split_once(' ') else { return Ok(Err(line.into())) };
    let numbered = id.bytes().all(|byte| byte.is_ascii_digit());
    let name = published_key(path).filter(|&name| match name {
        "cub200" => numbered,
        "nabirds" => !numbered,
        _ => false,
    });
    Ok(name.ok_or_else(|| line.into()))
}

/// Reads the tables of the data set `name`, which was asked for by its name.
///
/// # Errors
/// Tables that are not those of that data set, with what differs.
pub(super) fn open_published(files: &Files, name: &str) -> Result<Splits> {
    let found = published_line(files)?;
    if found != Ok(name) {
        let want = match name {
            "cub200" => "a number, a space and a path like 001.Albatross/A_1.jpg, as in CUB-200-2011",
            _ => "a text, a space and a path like 0817/a1.jpg, as in NABirds",
        };
        let what = match found {
            Ok(other) => format!("is the table of {other}: its lines are not {want}"),
            Err(line) => format!("begins with \"{line}\", which is not {want}"),
        };
        let hint = "leave out --dataset and --preset to read the tables as a set of its own";
        return Err(Error::path(&files.path(IMAGES), what, hint));
    }
    open(files)
}

/// Reads the tables. Classes are the ids of the labels, numbers by their values and texts by their bytes; `classes.txt`
/// names them.
pub(super) fn open(files: &Files) -> Result<Splits> {
    let labels = table(files, LABELS)?;
    let all = splits::ids(labels.iter().map(|(_, class)| class.as_str()));
    let ids: BTreeSet<Id> = all.iter().cloned().collect();
    let ranks: HashMap<&Id, u32> = ids.iter().zip(0..).collect();
    let labels: HashMap<String, u32> =
        labels.into_iter().zip(&all).map(|((image, _), id)| (image, ranks[id])).collect();
    let split: HashMap<String, String> = table(files, SPLIT)?.into_iter().collect();
    let (mut train, mut test) = (Vec::new(), Vec::new());
    let bad = |file: &str, what: String| {
        Error::path(&files.path(file), what, "check that the tables belong together")
    };
    for (id, path) in table(files, IMAGES)? {
        let label = labels.get(&id).ok_or_else(|| bad(LABELS, format!("has no class for {id:?}")))?;
        match split.get(&id).map(String::as_str) {
            Some("1") => train.push((path, *label)),
            Some("0") => test.push((path, *label)),
            _ => return Err(bad(SPLIT, format!("has no 0 or 1 for {id:?}"))),
        }
    }
    let images = files.at("images")?.unwrap_or_else(|| files.inside("images"));
    let mut missing = Vec::new();
    let train = lists::samples(files, IMAGES, &images, train, &mut missing);
    let test = lists::samples(files, IMAGES, &images, test, &mut missing);
    let ids: Vec<String> = ids.iter().map(Id::to_string).collect();
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
    // Some write the same number with zeros in front in one table and without in another.
    let plain = |id: &str| id.parse::<u32>().map_or_else(|_| id.to_string(), |number| number.to_string());
    let names: HashMap<String, String> =
        table(files, NAMES)?.into_iter().map(|(id, name)| (plain(&id), name)).collect();
    let found: Option<Vec<String>> = ids.iter().map(|id| names.get(&plain(id)).cloned()).collect();
    let different = |names: &Vec<String>| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    Ok(found.filter(different).unwrap_or(ids))
}

/// The rows of a table: an id and the rest of the line, parted by a space, or in sets of one's own by a tab or comma.
fn table(files: &Files, file: &str) -> Result<Vec<(String, String)>> {
    let text = files.text(file)?;
    let row = |(number, line): (usize, &str)| match line.split_once([' ', '\t', ',', ';']) {
        Some((id, rest)) => Ok((id.to_string(), rest.trim().to_string())),
        None => Err(bad_line(files, file, number, line, "an id and a value")),
    };
    lists::lines(&text).map(row).collect()
}
