//! DTD textures, the first of its ten partitions (`docs/data.md`).

use super::lists::{self, bad_line};
use super::published::labelled;
use super::splits::{LISTS, Splits};
use crate::error::Result;
use crate::files::Files;

const TRAIN: &str = "labels/train1.txt";

pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(files.has(TRAIN))
}

pub(super) fn open(files: &Files) -> Result<Splits> {
    let train = read(files, TRAIN)?;
    let mut classes: Vec<String> = train.iter().map(|(class, _)| class.clone()).collect();
    classes.sort();
    classes.dedup();
    let images = files.inside("images");
    let mut missing = Vec::new();
    let mut samples = |list: &str, entries| -> Result<_> {
        let entries = labelled(files, list, entries, &classes)?;
        Ok(lists::samples(files, list, &images, entries, &mut missing))
    };
    let train = samples(TRAIN, train)?;
    let mut other = |list| files.has(list).then(|| samples(list, read(files, list)?)).transpose();
    let (val, test) = (other("labels/val1.txt")?, other("labels/test1.txt")?);
    Ok(Splits { form: LISTS, classes, train, val, test, missing, ..Splits::default() })
}

/// The class and the path of every image of a list.
fn read(files: &Files, list: &str) -> Result<Vec<(String, String)>> {
    let text = files.text(list)?;
    let entry = |(number, line): (usize, &str)| match line.split_once('/') {
        Some((class, _)) => Ok((class.to_string(), line.to_string())),
        None => Err(bad_line(files, list, number, line, "CLASS/IMAGE")),
    };
    lists::lines(&text).map(entry).collect()
}
