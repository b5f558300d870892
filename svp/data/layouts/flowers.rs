//! Oxford Flowers-102 with its own annotations (`docs/data.md`).

use super::lists;
use super::published::{damaged, variable};
use super::splits::{MAT, Splits};
use crate::error::{Error, Result};
use crate::files::Files;

const LABELS: &str = "imagelabels.mat";
const SETS: &str = "setid.mat";

pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(files.has(SETS))
}

/// Reads the annotations: the labels of all images, and for each split the numbers of its images. Both count from 1.
pub(super) fn open(files: &Files) -> Result<Splits> {
    let integers = |file: &str, name: &str| {
        let found = variable(files, file, name)?.integers();
        found.ok_or_else(|| damaged(files, file, format!("{name} has other values than positive integers")))
    };
    let labels = integers(LABELS, "labels")?;
    let count = labels.iter().copied().max().unwrap_or(0);
    if count > 1000 || labels.contains(&0) {
        return Err(damaged(files, LABELS, "has labels beyond 1 to 102"));
    }
    let mut missing = Vec::new();
    let mut split = |name: &str| {
        let mut entries = Vec::new();
        for number in integers(SETS, name)? {
            let label = number.checked_sub(1).and_then(|i| labels.get(i as usize)).ok_or_else(|| {
                damaged(files, SETS, format!("{name} has image {number}, {LABELS} has {}", labels.len()))
            })?;
            entries.push((format!("jpg/image_{number:05}.jpg"), label - 1));
        }
        Ok::<_, Error>(lists::samples(files, SETS, files, entries, &mut missing))
    };
    let (train, val, test) = (split("trnid")?, split("valid")?, split("tstid")?);
    let classes = (1..=count).map(|label| label.to_string()).collect();
    Ok(Splits { form: MAT, classes, train, val: Some(val), test: Some(test), missing, ..Splits::default() })
}
