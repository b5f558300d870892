//! VTAB-1k list files (`spec/datasets.md` section 6): lines `path label`, labels from 0.

use std::path::Path;

use super::dataset::{Sample, Splits};
use super::lists;
use crate::{Error, Result};

/// Any of these files marks the layout.
pub(super) const LISTS: [&str; 2] = ["train800.txt", "train800val200.txt"];
/// Largest number of classes: keeps one absurd label from naming a million classes.
const MAX_CLASSES: u32 = 100_000;

/// Reads the honest pair `train800.txt` and `val200.txt` if both are there, else `train800val200.txt`, from which
/// a validation split is still to be made; and `test.txt` if there is one.
pub(super) fn open(dir: &Path) -> Result<Splits> {
    let exists = |name: &str| dir.join(name).is_file();
    let (train, val) = if exists("train800.txt") && exists("val200.txt") {
        (read(dir, "train800.txt")?, Some(read(dir, "val200.txt")?))
    } else if exists("train800val200.txt") {
        (read(dir, "train800val200.txt")?, None)
    } else {
        let what = "has neither train800.txt with val200.txt nor train800val200.txt";
        return Err(Error::path(dir, what, "point to the folder of one VTAB-1k task"));
    };
    let test = exists("test.txt").then(|| read(dir, "test.txt")).transpose()?;
    let splits = [Some(&train), val.as_ref(), test.as_ref()];
    let count = splits.into_iter().flatten().flatten().map(|s| s.label + 1).max().unwrap_or(0);
    let classes = (0..count).map(|label| label.to_string()).collect();
    Ok(Splits { classes, train, val, test, notes: Vec::new() })
}

fn read(dir: &Path, name: &str) -> Result<Vec<Sample>> {
    let path = dir.join(name);
    let text = lists::read_text(&path)?;
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let entry = parse(line).ok_or_else(|| {
            let at = format!("{}:{}", path.display(), number + 1);
            let what = format!("{:?} is not a path and a label below {MAX_CLASSES}", shorten(line));
            Error::input(at, what, "write lines like `images/train800/000000.jpg 7`")
        })?;
        entries.push(entry);
    }
    lists::samples(&path, dir, entries)
}

/// The label is the last field, so that a path may contain spaces.
fn parse(line: &str) -> Option<(String, u32)> {
    let (path, label) = line.rsplit_once([' ', '\t'])?;
    let label = label.parse().ok().filter(|&label: &u32| label < MAX_CLASSES)?;
    Some((path.trim_end().to_string(), label))
}

fn shorten(line: &str) -> String {
    line.chars().take(80).collect()
}
