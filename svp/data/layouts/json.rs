//! VPT-style JSON splits: for each split, one object whose keys are image paths and whose values are class ids
//! (`docs/data.md`).

use std::collections::HashSet;
use std::path::PathBuf;

use serde_json::Value;

use super::lists::{self, Missing};
use super::splits::{Id, JSON, Splits};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::sample::Sample;

/// The file by which the layout is told.
const TRAIN: &str = "train.json";

/// Whether there are splits.
pub(super) fn fits(files: &Files) -> bool {
    files.has(TRAIN)
}

/// The first image path of the training split, by which a published data set can be told.
pub(super) fn example(files: &Files) -> Option<String> {
    // An error in the file is reported when the splits are read.
    let entries = files.has(TRAIN).then(|| parse(files, TRAIN).ok())??;
    entries.into_iter().next().map(|(key, _)| key)
}

/// Reads `train.json`, and `val.json` and `test.json` if they are there. A label is the rank of a class id among those of
/// `train.json`, because other splits need not have all ids. An image that is also in `val.json` is not trained on.
pub(super) fn open(files: &Files) -> Result<Splits> {
    let entries = parse(files, TRAIN)?;
    let base = image_base(files, &entries)?;
    let ids = sorted_ids(files, &entries)?;
    let mut missing = Vec::new();
    let mut train = label(files, TRAIN, &base, entries, &ids, &mut missing)?;
    let mut read = |name: &str| -> Result<Option<Vec<Sample>>> {
        if !files.has(name) {
            return Ok(None);
        }
        label(files, name, &base, parse(files, name)?, &ids, &mut missing).map(Some)
    };
    let (val, test) = (read("val.json")?, read("test.json")?);
    let mut notes = Vec::new();
    if let Some(val) = &val {
        let paths: HashSet<PathBuf> = val.iter().map(|sample| sample.source.path()).collect();
        let all = train.len();
        train.retain(|sample| !paths.contains(&sample.source.path()));
        if train.len() < all {
            // The published training list of Stanford Cars contains the whole validation list.
            notes.push(format!("validation images that train.json lists as well: {}", all - train.len()));
        }
    }
    let classes = ids.iter().map(Id::to_string).collect();
    Ok(Splits { form: JSON, classes, train, val, test, notes, missing, ..Splits::default() })
}

/// The paths and class ids of a split, in the order of the file.
fn parse(files: &Files, name: &str) -> Result<Vec<(String, Id)>> {
    let bad = |what: String| {
        Error::path(&files.path(name), what, "expected one object of image paths to class ids")
    };
    let text = files.text(name)?;
    let object: serde_json::Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| bad(format!("is not a JSON split: {e}")))?;
    let mut entries = Vec::with_capacity(object.len());
    for (key, value) in object {
        let id = match value {
            Value::Number(n) => n.as_i64().map(Id::Number),
            Value::String(text) => Some(Id::Text(text)),
            _ => None,
        };
        match id {
            Some(id) => entries.push((key, id)),
            None => return Err(bad(format!("the class id of {key:?} is neither an integer nor a text"))),
        }
    }
    Ok(entries)
}

/// The different class ids, sorted.
fn sorted_ids(files: &Files, entries: &[(String, Id)]) -> Result<Vec<Id>> {
    let mut ids: Vec<Id> = entries.iter().map(|(_, id)| id.clone()).collect();
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Err(Error::path(&files.path(TRAIN), "lists no images", "check that it is the split file"));
    }
    if let (Some(Id::Number(n)), Some(Id::Text(text))) = (ids.first(), ids.last()) {
        let what = format!("has numbers ({n}) and texts ({text:?}) as class ids");
        return Err(Error::path(&files.path(TRAIN), what, "use one kind"));
    }
    Ok(ids)
}

/// The samples of a split.
fn label(
    files: &Files,
    name: &str,
    base: &Files,
    entries: Vec<(String, Id)>,
    ids: &[Id],
    missing: &mut Vec<Missing>,
) -> Result<Vec<Sample>> {
    let mut labelled = Vec::with_capacity(entries.len());
    for (key, id) in entries {
        let label = ids.binary_search(&id).map_err(|_| {
            let what = format!("class id {id} of {key:?} does not occur in {TRAIN}");
            Error::path(&files.path(name), what, "check that the splits belong together")
        })?;
        labelled.push((key, label as u32));
    }
    Ok(lists::samples(files, name, base, labelled, missing))
}

/// The folder that the keys are relative to, which is the first that holds one of the first images. Candidates are the
/// folder itself, its sub-folders (such as one of an archive beside the splits), and the `images` in each of these.
fn image_base(files: &Files, entries: &[(String, Id)]) -> Result<Files> {
    let holds_one = |base: &Files| entries.iter().take(100).any(|(key, _)| base.has(key));
    let mut bases = vec![files.clone()];
    bases.extend(files.folders("")?.iter().map(|folder| files.inside(folder)));
    for base in &bases {
        for base in base.at("images")?.iter().chain([base]) {
            if holds_one(base) {
                return Ok(base.clone());
            }
        }
    }
    Ok(files.at("images")?.unwrap_or_else(|| files.clone()))
}
