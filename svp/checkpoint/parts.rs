//! A checkpoint in several files, with an index that says which tensor is in which, as Hugging Face's programs write it:
//! `{"weight_map": {"cls_token": "model-00001-of-00002.safetensors", ...}}`.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use data::mapped;
use data::text::{count, first};
use serde::Deserialize;

use super::fault::Fault;
use super::{Checkpoint, Entries, Metadata, NO_CHOICE, Weights};
use crate::Result;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens the parts that an index names, all in its folder.
pub(super) fn open(path: &Path, weights: Option<Weights>) -> Result<Checkpoint> {
    let wrong = |what: String, hint| Fault::new(what, hint).in_file(path);
    let text = mapped::map(path)?;
    let index: Index = serde_json::from_slice(&text).map_err(|e| {
        let hint = "give the .index.json that lies beside the parts, or the file of a whole checkpoint";
        wrong(format!("is no index of a checkpoint's parts ({e})"), hint)
    })?;
    if weights.is_some() {
        return Err(wrong(NO_CHOICE.0.into(), NO_CHOICE.1));
    }
    let mut parts: BTreeMap<&str, Entries> = BTreeMap::new();
    let mut entries = Entries::new();
    let mut files = vec![];
    for (name, part) in &index.weight_map {
        if !parts.contains_key(part.as_str()) {
            let opened = open_part(path, part)?;
            files.extend(opened.files);
            parts.insert(part, opened.entries);
        }
        let entry = parts.get_mut(part.as_str()).and_then(|part| part.remove(name)).ok_or_else(|| {
            let hint = "get the index and the parts again, all of one checkpoint";
            wrong(format!("names the tensor {name} in {part}, which does not hold it"), hint)
        })?;
        entries.insert(name.clone(), entry);
    }
    let left: Vec<&String> = parts.values().flat_map(Entries::keys).collect();
    let mut line =
        format!("checkpoint: {} in {}", count(entries.len(), "tensor"), count(parts.len(), "part"));
    if !left.is_empty() {
        let names = first(&left);
        line = format!("{line}; left out because the index does not name them: {} ({names})", left.len());
    }
    let file = Checkpoint {
        path: path.into(),
        entries,
        metadata: Metadata::new(),
        key: None,
        prefix: String::new(),
        allow_non_finite: false,
        files,
        notes: vec![],
    };
    Ok(file.noted(line))
}

/// Opens a part. Its name must lead to a place in the index's folder, because an index can come from anywhere.
fn open_part(index: &Path, part: &str) -> Result<Checkpoint> {
    let wrong = |what: String, hint| Err(Fault::new(what, hint).in_file(index));
    let place = Path::new(part);
    if part.is_empty() || !place.components().all(|step| matches!(step, Component::Normal(_))) {
        return wrong(format!("names the part {part:?}, which is outside of its folder"), "do not trust it");
    }
    let path = index.parent().unwrap_or(Path::new("")).join(place);
    if !path.is_file() {
        return wrong(
            format!("names the part {part}, which is not there"),
            "get all parts of the checkpoint",
        );
    }
    Checkpoint::open(&path)
}
