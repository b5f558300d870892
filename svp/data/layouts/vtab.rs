//! VTAB-1k list files, whose lines are `path label` with labels from 0 (`docs/data.md`).

use super::lists::{self, Missing, bad_line};
use super::splits::{Splits, VTAB_JOINT, VTAB_PAIR, gaps};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::sample::Sample;

/// The files by which the layout is told.
const LISTS: [&str; 2] = ["train800.txt", "train800val200.txt"];
/// The largest number of classes, so that one absurd label cannot make a million of them.
const MAX_CLASSES: u32 = 100_000;

/// Whether there are lists.
pub(super) fn fits(files: &Files) -> bool {
    lists::first(files, &LISTS).is_some()
}

/// Reads `train800.txt` and `val200.txt` if both are there, or else `train800val200.txt`, of which a validation split is
/// still to be held out; and `test.txt` if there is one. `classes` is the number of classes of a known task, because its
/// lists need not name all of them.
pub(super) fn open(files: &Files, classes: Option<u32>) -> Result<Splits> {
    let mut missing = Vec::new();
    let mut read = |name: &str| read(files, name, classes.unwrap_or(MAX_CLASSES), &mut missing);
    let (train, val) = if files.has("train800.txt") && files.has("val200.txt") {
        (read("train800.txt")?, Some(read("val200.txt")?))
    } else if files.has("train800val200.txt") {
        (read("train800val200.txt")?, None)
    } else {
        let what = "has neither train800.txt with val200.txt nor train800val200.txt";
        return Err(Error::path(&files.path(""), what, "point to the folder of one VTAB-1k task"));
    };
    let test = files.has("test.txt").then(|| read("test.txt")).transpose()?;
    let form = if val.is_some() { VTAB_PAIR } else { VTAB_JOINT };
    let mut splits = Splits { form, train, val, test, missing, ..Splits::default() };
    match classes {
        Some(count) => splits.classes = (0..count).map(|label| label.to_string()).collect(),
        None => number(&mut splits),
    }
    Ok(splits)
}

/// Makes classes of the labels that occur. A set of one's own may count them from 1, or leave some out; a class without
/// an image is not trained.
fn number(splits: &mut Splits) {
    let mut all: Vec<&mut Sample> = [Some(&mut splits.train), splits.val.as_mut(), splits.test.as_mut()]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let mut labels: Vec<i64> = all.iter().map(|sample| i64::from(sample.label)).collect();
    labels.sort_unstable();
    labels.dedup();
    for sample in &mut all {
        // Every label is among them.
        sample.label = labels.partition_point(|&label| label < i64::from(sample.label)) as u32;
    }
    splits.classes = labels.iter().map(i64::to_string).collect();
    splits.notes.extend(gaps(&labels));
}

fn read(files: &Files, name: &str, classes: u32, missing: &mut Vec<Missing>) -> Result<Vec<Sample>> {
    let text = files.text(name)?;
    let mut entries = Vec::new();
    for (number, line) in lists::lines(&text) {
        let want = || format!("a path and a label below {classes}, like `images/train800/000000.jpg 7`");
        let entry = parse(line, classes);
        entries.push(entry.ok_or_else(|| bad_line(files, name, number, line, &want()))?);
    }
    Ok(lists::samples(files, name, files, entries, missing))
}

/// Path and label of a line. The label is the last field, because a path may contain spaces.
fn parse(line: &str, classes: u32) -> Option<(String, u32)> {
    let (path, label) = line.rsplit_once([' ', '\t'])?;
    let label = label.parse().ok().filter(|&label: &u32| label < classes)?;
    Some((path.trim_end().to_string(), label))
}
