//! A data set compared with what was published: what `svp-data check` reports.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::layouts::{self, Layout, Recognised};
use crate::sample::Sample;
use crate::source::Source;

/// What was found out about a data set.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// How it lies on disk.
    pub layout: Layout,
    /// What was recognised, and where, in one line.
    pub recognised: String,
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The number of classes of the published data set.
    pub published_classes: Option<usize>,
    /// The splits that are there or were published.
    pub splits: Vec<CheckedSplit>,
    /// The images that lists name and that are missing.
    pub missing: Vec<PathBuf>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Facts that are not problems.
    pub notes: Vec<String>,
}

/// A split and its numbers.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedSplit {
    /// `train`, `val` or `test`.
    pub name: &'static str,
    /// The number of images that are there.
    pub images: usize,
    /// The number of images that were published.
    pub published: Option<usize>,
    /// The number of images of each class.
    pub per_class: Vec<usize>,
    /// The number of images of every class that were published, where all classes have the same.
    pub published_per_class: Option<usize>,
}

/// Something to mend.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// The file or folder.
    pub at: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Input { at, what, hint } => Problem { at, what, mend: hint },
            other => Problem { at: "data".into(), what: other.to_string(), mend: "try again".into() },
        }
    }
}

/// Recognises the data set at `path` and checks it. The numbers of images and classes are compared with the published
/// ones, listed images that are missing are found, and each image is checked: decoded whole if `decode` is set, or else
/// by its header. `seed` decides those training sets that the published program draws.
///
/// # Errors
/// A path without a data set, and one whose lists cannot be read.
pub fn check(path: &Path, layout: Layout, seed: u64, decode: bool) -> Result<Check> {
    let found = layouts::find(path, layout, seed)?;
    let splits = checked_splits(&found);
    let mut problems: Vec<Problem> = found.splits.missing.iter().map(|m| m.error().into()).collect();
    problems.extend(wrong_numbers(&found, &splits));
    problems.extend(broken_images(&found, decode));
    Ok(Check {
        layout: found.layout,
        recognised: found.summary(),
        published_classes: published_classes(&found),
        splits,
        missing: found.splits.missing.iter().flat_map(|m| m.images.iter().cloned()).collect(),
        problems,
        classes: found.splits.classes,
        notes: found.splits.notes,
    })
}

fn published_classes(found: &Recognised) -> Option<usize> {
    match found.layout {
        Layout::Known(known) => Some(known.classes),
        _ => None,
    }
}

fn checked_splits(found: &Recognised) -> Vec<CheckedSplit> {
    let splits = &found.splits;
    let all = [("train", Some(&splits.train)), ("val", splits.val.as_ref()), ("test", splits.test.as_ref())];
    let published = found.expected();
    let counts = published.map_or([None; 3], |counts| [Some(counts.train), counts.val, Some(counts.test)]);
    let even = published.map_or([None; 3], |counts| counts.per_class);
    let wanted = counts.into_iter().zip(even);
    // A split that is neither there nor published is left out.
    let reported = all
        .into_iter()
        .zip(wanted)
        .filter(|((_, samples), (want, _))| samples.or(want.and(Some(&splits.train))).is_some());
    let checked = |((name, samples), (published, published_per_class)): ((_, Option<&Vec<Sample>>), _)| {
        let samples = samples.map_or(&[][..], Vec::as_slice);
        let mut per_class = vec![0; splits.classes.len()];
        samples.iter().for_each(|sample| per_class[sample.label as usize] += 1);
        CheckedSplit { name, images: samples.len(), published, per_class, published_per_class }
    };
    reported.map(checked).collect()
}

/// Problems with numbers that differ from the published ones, unless missing images, which are reported already,
/// explain them.
fn wrong_numbers(found: &Recognised, splits: &[CheckedSplit]) -> Vec<Problem> {
    let at = found.files.path("").display().to_string();
    let mend = "get the lists or archives of the published data set again";
    let problem = |what: String| Problem { at: at.clone(), what, mend: mend.into() };
    let mut problems = Vec::new();
    let classes = found.splits.classes.len();
    match published_classes(found) {
        Some(published) if published != classes => {
            problems.push(problem(format!("has {classes} classes, published are {published}")));
        }
        None if classes < 2 => problems.push(problem(format!("has {classes} class"))),
        _ => {}
    }
    for split in splits {
        let &CheckedSplit { name, images, published, published_per_class, .. } = split;
        match published {
            Some(_) if images == 0 => problems.push(problem(format!("has no {name} split"))),
            None if images == 0 => problems.push(problem(format!("has no images in its {name} split"))),
            Some(published) if images != published && found.splits.missing.is_empty() => {
                let what = format!("has {images} images in its {name} split, published are {published}");
                problems.push(problem(what));
            }
            Some(_) if found.splits.missing.is_empty() => {
                let uneven = split.per_class.iter().zip(&found.splits.classes);
                let mut uneven =
                    uneven.filter(|(count, _)| published_per_class.is_some_and(|want| **count != want));
                if let (Some((count, class)), Some(want)) = (uneven.next(), published_per_class) {
                    let what =
                        format!("has {count} images of {class} in its {name} split, published are {want}");
                    problems.push(problem(what));
                }
            }
            _ => {}
        }
    }
    problems
}

/// Problems with images that cannot be read.
fn broken_images(found: &Recognised, decode: bool) -> Vec<Problem> {
    let splits = &found.splits;
    let mut all: Vec<&Source> = [Some(&splits.train), splits.val.as_ref(), splits.test.as_ref()]
        .into_iter()
        .flatten()
        .flatten()
        .map(|sample| &sample.source)
        .collect();
    // Reading an archive from its start to its end is fastest.
    all.sort_by_key(|source| source.position());
    let check = |source: &&Source| match decode {
        true => source.load().map(|_| ()),
        false => source.check_header(),
    };
    all.par_iter().filter_map(|source| check(source).err().map(Problem::from)).collect()
}
