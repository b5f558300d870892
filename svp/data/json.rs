//! VPT-style JSON splits (`spec/datasets.md` section 2): one object of image path to class id per split.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::dataset::{Sample, Source, Splits};
use super::lists;
use crate::{Error, Result};

/// Reads `train.json`, and `val.json` and `test.json` if they are there. A label is the rank of the id among
/// those of `train.json`: the ids of another split may have gaps.
pub(super) fn open(dir: &Path) -> Result<Splits> {
    let entries = parse(&dir.join("train.json"))?;
    let base = image_base(dir, &entries)?;
    let ids = sorted_ids(&dir.join("train.json"), &entries)?;
    let read = |name: &str| -> Result<Option<Vec<Sample>>> {
        let path = dir.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        label(&path, &base, parse(&path)?, &ids).map(Some)
    };
    let mut train = label(&dir.join("train.json"), &base, entries, &ids)?;
    let (val, test) = (read("val.json")?, read("test.json")?);
    let mut notes = Vec::new();
    if let Some(val) = &val {
        let paths: HashSet<&Source> = val.iter().map(|s| &s.source).collect();
        let all = train.len();
        train.retain(|sample| !paths.contains(&sample.source));
        if train.len() < all {
            // Stanford Cars: the published training list contains the whole validation list.
            notes.push(format!("not trained on because they are in val.json: {} images", all - train.len()));
        }
    }
    let classes = ids.iter().map(Id::to_string).collect();
    Ok(Splits { classes, train, val, test, notes })
}

/// A class id as it stands in the file. Numbers are ordered by value, texts by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Number(i64),
    Text(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Id::Number(n) => n.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

fn parse(path: &Path) -> Result<Vec<(String, Id)>> {
    let bad = |what: String| Error::path(path, what, "expected one object of image paths to class ids");
    let text = lists::read_text(path)?;
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

fn sorted_ids(path: &Path, entries: &[(String, Id)]) -> Result<Vec<Id>> {
    let mut ids: Vec<Id> = entries.iter().map(|(_, id)| id.clone()).collect();
    ids.sort();
    ids.dedup();
    if ids.is_empty() {
        return Err(Error::path(path, "lists no images", "check that it is the split file"));
    }
    if let (Some(Id::Number(n)), Some(Id::Text(text))) = (ids.first(), ids.last()) {
        let what = format!("has numbers ({n}) and texts ({text:?}) as class ids");
        return Err(Error::path(path, what, "use one kind"));
    }
    Ok(ids)
}

fn label(path: &Path, base: &Path, entries: Vec<(String, Id)>, ids: &[Id]) -> Result<Vec<Sample>> {
    let mut labelled = Vec::with_capacity(entries.len());
    for (key, id) in entries {
        let label = ids.binary_search(&id).map_err(|_| {
            let what = format!("class id {id} of {key:?} does not occur in train.json");
            Error::path(path, what, "check that the splits belong together")
        })?;
        labelled.push((key, label as u32));
    }
    lists::samples(path, base, labelled)
}

/// Where the keys start: the folder itself, or its `images` in any spelling; whichever holds one of the first
/// images.
fn image_base(dir: &Path, entries: &[(String, Id)]) -> Result<PathBuf> {
    let holds_one = |base: &PathBuf| entries.iter().take(100).any(|(key, _)| base.join(key).is_file());
    let images = super::folder::split_dir(dir, &["images"])?;
    Ok(images.filter(holds_one).unwrap_or_else(|| dir.to_path_buf()))
}
