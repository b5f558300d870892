//! Food-101 (`docs/data.md`).

use serde_json::{Map, Value};

use super::lists::{self, Missing};
use super::published::{damaged, labelled, published_80};
use super::splits::{LISTS, Splits};
use crate::error::Result;
use crate::files::Files;
use crate::sample::Sample;

// `meta/NAME.json` and `meta/NAME.txt` list the same images.
const TRAIN: [&str; 2] = ["meta/train.json", "meta/train.txt"];
const TEST: [&str; 2] = ["meta/test.json", "meta/test.txt"];
/// Food-101 has none.
const VAL: [&str; 2] = ["meta/val.json", "meta/val.txt"];

pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(lists::first(files, &TRAIN).is_some())
}

/// Reads the lists of another set than Food-101, which is not split as that is.
pub(super) fn open_own(files: &Files) -> Result<Splits> {
    let mut splits = read_all(files)?;
    let val = lists::first(files, &VAL);
    splits.val = val.map(|list| samples(files, list, &splits.classes, &mut splits.missing)).transpose()?;
    Ok(splits)
}

/// Reads the lists. As in the published program, the training images are shuffled by `seed` and the first 80 % are
/// trained on. The rest validates.
pub(super) fn open(files: &Files, seed: u64) -> Result<Splits> {
    let splits = read_all(files)?;
    let (train, val) = published_80(splits.train, seed);
    Ok(Splits { train, val: Some(val), ..splits })
}

/// The training and the test list.
fn read_all(files: &Files) -> Result<Splits> {
    let list = lists::first(files, &TRAIN).unwrap_or(TRAIN[0]);
    let mut classes: Vec<String> = read(files, list)?.into_iter().map(|(class, _)| class).collect();
    classes.sort();
    classes.dedup();
    let mut missing = Vec::new();
    let train = samples(files, list, &classes, &mut missing)?;
    let test = lists::first(files, &TEST);
    let test = test.map(|list| samples(files, list, &classes, &mut missing)).transpose()?;
    Ok(Splits { form: LISTS, classes, train, test, missing, ..Splits::default() })
}

/// The samples of a list.
fn samples(files: &Files, list: &str, classes: &[String], missing: &mut Vec<Missing>) -> Result<Vec<Sample>> {
    let entries = labelled(files, list, read(files, list)?, classes)?;
    Ok(lists::samples(files, list, &files.inside("images"), entries, missing))
}

/// The class and the path of every image, in the order of the list.
fn read(files: &Files, list: &str) -> Result<Vec<(String, String)>> {
    let text = files.text(list)?;
    let bad = |what: String| damaged(files, list, what);
    let image = |image: &str| match image.split_once('/') {
        Some((class, _)) => Ok((class.to_string(), format!("{image}.jpg"))),
        None => Err(bad(format!("lists {image:?}, which is not CLASS/IMAGE"))),
    };
    if list.ends_with(".txt") {
        return lists::lines(&text).map(|(_, line)| image(line)).collect();
    }
    let object: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| bad(format!("is not a JSON object of lists: {e}")))?;
    let mut images = Vec::new();
    for (class, value) in object {
        let listed = value.as_array().ok_or_else(|| bad(format!("has no list for {class:?}")))?;
        for path in listed {
            images.push(image(path.as_str().ok_or_else(|| bad(format!("{class:?} lists {path}")))?)?);
        }
    }
    Ok(images)
}
