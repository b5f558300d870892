//! GTSRB traffic signs (`docs/data.md`).

use std::path::Path;

use super::lists::{self, Missing, bad_line};
use super::published::{damaged, published_80};
use super::splits::{PPM, Splits};
use crate::decode;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::sample::Sample;

/// The folders of the training images that the paper used, and of the larger set that came later.
const TRAINING: [&str; 4] =
    ["GTSRB/Training", "Training", "GTSRB/Final_Training/Images", "Final_Training/Images"];
const TEST: [&str; 2] = ["GTSRB/Final_Test/Images", "Final_Test/Images"];
const TEST_LABELS: [&str; 4] = [
    "GT-final_test.csv",
    "GTSRB/GT-final_test.csv",
    "GTSRB/Final_Test/Images/GT-final_test.csv",
    "Final_Test/Images/GT-final_test.csv",
];

/// The number of classes.
const CLASSES: usize = 43;

/// Whether there are training images in folders of five digits, and beside them the test set, a table of the set, or
/// the folders of all classes. A folder `Training` alone is anybody's.
pub(super) fn fits(files: &Files) -> Result<bool> {
    let Some((_, folder)) = first_folder(files, &TRAINING)? else { return Ok(false) };
    let classes = folder.folders("")?;
    let numbered = |name: &String| name.len() == 5 && name.bytes().all(|byte| byte.is_ascii_digit());
    let Some(first) = classes.first().filter(|_| classes.iter().all(numbered)) else { return Ok(false) };
    Ok(classes.len() == CLASSES
        || folder.has(&format!("{first}/GT-{first}.csv"))
        || lists::first(files, &TEST_LABELS).is_some()
        || first_folder(files, &TEST)?.is_some())
}

/// The first of these folders that is there, with its name.
fn first_folder(files: &Files, names: &[&'static str]) -> Result<Option<(&'static str, Files)>> {
    for name in names {
        if let Some(folder) = files.at(name)? {
            return Ok(Some((name, folder)));
        }
    }
    Ok(None)
}

/// Reads the folders. As in the published program, the training images are shuffled by `seed` and the first 80 % are
/// trained on. The rest validates.
pub(super) fn open(files: &Files, seed: u64) -> Result<Splits> {
    let (name, folder) = first_folder(files, &TRAINING)?.ok_or_else(|| {
        Error::path(&files.path(""), "has no GTSRB/Training", "unpack GTSRB-Training_fixed.zip there")
    })?;
    let mut notes = Vec::new();
    if name.contains("Final") {
        notes.push("Final_Training is read: the published program trains on GTSRB-Training_fixed.zip".into());
    }
    let classes = folder.folders("")?;
    let mut all = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let images = folder.below(class)?;
        let images = images.into_iter().filter(|file| decode::is_image_name(&file.path()));
        all.extend(images.map(|source| Sample::new(source, label as u32)));
    }
    let (train, val) = published_80(all, seed);
    let mut missing = Vec::new();
    let test = match (lists::first(files, &TEST_LABELS), first_folder(files, &TEST)?) {
        (Some(labels), Some((_, images))) => Some(test(files, labels, &images, classes.len(), &mut missing)?),
        (None, Some((_, images))) => {
            let what = "has no GT-final_test.csv beside it, which holds the labels";
            return Err(Error::path(&images.path(""), what, "unpack GTSRB_Final_Test_GT.zip there"));
        }
        (_, None) => None,
    };
    Ok(Splits { form: PPM, classes, train, val: Some(val), test, notes, missing, ..Splits::default() })
}

/// Reads the labels of the test images. The columns are separated by `;`, and only `Filename` and `ClassId` count.
fn test(
    files: &Files,
    list: &str,
    images: &Files,
    classes: usize,
    missing: &mut Vec<Missing>,
) -> Result<Vec<Sample>> {
    let text = files.text(list)?;
    let mut lines = lists::lines(&text);
    let header: Vec<&str> = lines.next().map_or(vec![], |(_, line)| line.split(';').map(str::trim).collect());
    let column = |name: &str| {
        let at = header.iter().position(|column| column.eq_ignore_ascii_case(name));
        at.ok_or_else(|| damaged(files, list, format!("has no column {name}")))
    };
    let (name_at, class_at) = (column("Filename")?, column("ClassId")?);
    let mut entries = Vec::new();
    for (number, line) in lines {
        let fields: Vec<&str> = line.split(';').map(str::trim).collect();
        let name = fields.get(name_at).filter(|name| Path::new(name).file_name().is_some());
        let class = fields.get(class_at).and_then(|class| class.parse().ok());
        let class = class.filter(|&class: &u32| (class as usize) < classes);
        let entry = name.map(|name| name.to_string()).zip(class);
        let want = || format!("a file name and a class below {classes}");
        entries.push(entry.ok_or_else(|| bad_line(files, list, number, line, &want()))?);
    }
    Ok(lists::samples(files, list, images, entries, missing))
}
