//! Oxford Flowers-102 with its own annotations (`spec/datasets.md` section 2).

use super::lists::{self, damaged};
use super::{Splits, variable};
use crate::Result;
use crate::data::files::Files;

const LABELS: &str = "imagelabels.mat";
const SETS: &str = "setid.mat";

pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(files.has(SETS))
}

/// Image n has the label number n; the sets hold image numbers, all from 1.
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
        Ok::<_, crate::Error>(lists::samples(files, SETS, files, entries, &mut missing))
    };
    let (train, val, test) = (split("trnid")?, split("valid")?, split("tstid")?);
    let classes = (1..=count).map(|label| label.to_string()).collect();
    Ok(Splits {
        form: super::MAT,
        classes,
        train,
        val: Some(val),
        test: Some(test),
        missing,
        ..Splits::default()
    })
}
