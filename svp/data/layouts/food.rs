//! Food-101 (`docs/data.md`).

use serde_json::{Map, Value};

use super::lists;
use super::published::{damaged, labelled, published_80};
use super::splits::{LISTS, Splits};
use crate::error::Result;
use crate::files::Files;

// `meta/NAME.json` and `meta/NAME.txt` list the same images.
const TRAIN: [&str; 2] = ["meta/train.json", "meta/train.txt"];
const TEST: [&str; 2] = ["meta/test.json", "meta/test.txt"];

pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(lists::first(files, &TRAIN).is_some())
}

/// Reads the lists. As in the published program, the training images are shuffled by `seed` and the first 80 % are
/// trained on. The rest validates.
pub(super) fn open(files: &Files, seed: u64) -> Result<Splits> {
    let train_list = lists::first(files, &TRAIN).unwrap_or(TRAIN[0]);
    let train = read(files, train_list)?;
    let mut classes: Vec<String> = train.iter().map(|(class, _)| class.clone()).collect();
    classes.sort();
    classes.dedup();
    let images = files.inside("images");
    let mut missing = Vec::new();
    let train = labelled(files, train_list, train, &classes)?;
    let all = lists::samples(files, train_list, &images, train, &mut missing);
    let (train, val) = published_80(all, seed);
    let test = match lists::first(files, &TEST) {
        Some(list) => {
            let entries = labelled(files, list, read(files, list)?, &classes)?;
            Some(lists::samples(files, list, &images, entries, &mut missing))
        }
        None => None,
    };
    Ok(Splits { form: LISTS, classes, train, val: Some(val), test, missing, ..Splits::default() })
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
