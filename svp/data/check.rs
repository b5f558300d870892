//! A data set compared with what was published: what `svp-data check` reports.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::duplicates::{self, Duplicates};
use crate::error::{Error, Result};
use crate::layouts::{self, Layout, LeftOut, Recognised};
use crate::sample::Sample;
use crate::text;
use crate::watch::Watch;

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
    /// The number of pictures that an EXIF orientation turns or mirrors.
    pub turned: usize,
    /// Pictures that are in train and in another split too, where they were looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<Duplicates>,
    /// Facts that are not problems.
    pub notes: Vec<String>,
}

/// How thoroughly a data set is checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Depth {
    /// Decode each image whole instead of reading its header.
    pub decode: bool,
    /// Look for images that are in train and in another split too.
    pub duplicates: bool,
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
/// ones, listed images that are missing are found, and each image is checked as `depth` says, which `watch` is told of.
/// `seed` decides those training sets that the published program draws. Lists may name files outside of the data set only
/// if `allow_outside` says so.
///
/// # Errors
/// A path without a data set, and one whose lists cannot be read.
pub fn check(
    path: &Path,
    layout: Layout,
    seed: u64,
    depth: Depth,
    allow_outside: bool,
    watch: Watch,
) -> Result<Check> {
    let found = layouts::find(path, layout, seed, allow_outside)?;
    let splits = checked_splits(&found);
    let mut problems: Vec<Problem> = found.splits.missing.iter().map(|m| m.error().into()).collect();
    problems.extend(wrong_numbers(&found, &splits));
    let (broken, turned) = broken_images(&found, depth.decode, watch);
    problems.extend(broken);
    let mut notes = found.splits.notes.clone();
    for LeftOut { at, what, mend, fault } in &found.splits.left_out {
        match fault {
            true => problems.push(Problem {
                at: at.display().to_string(),
                what: format!("left out: {what}"),
                mend: mend.clone(),
            }),
            false => notes.push(format!("left out: {}: {what}; {mend}", at.display())),
        }
    }
    if found.splits.unsplit {
        notes.push("no splits: training holds some images out for test and validation".into());
    }
    let duplicates = depth.duplicates.then(|| duplicates::find(&found.splits, watch));
    if let Some(found) = &duplicates {
        problems.extend(found.problem());
    }
    Ok(Check {
        layout: found.layout,
        recognised: found.summary(),
        published_classes: published_classes(&found),
        splits,
        missing: found.splits.missing.iter().flat_map(|m| m.images.iter().cloned()).collect(),
        problems,
        turned,
        duplicates,
        classes: found.splits.classes,
        notes,
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
    let published = published_classes(found);
    let mend = match (published, found.splits.form) {
        (Some(_), _) => "get the lists or archives of the published data set again",
        (None, form) if form.contains("folders") => "put images into the folders of their classes",
        (None, _) => "mend the list",
    };
    let problem = |what: String| Problem { at: at.clone(), what, mend: mend.into() };
    let mut problems = Vec::new();
    let classes = found.splits.classes.len();
    match published {
        Some(published) if published != classes => {
            problems.push(problem(format!("has {classes} classes, published are {published}")));
        }
        None if classes < 2 => {
            let what = format!("has {classes} class, training needs at least two");
            problems.push(problem(what));
        }
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

/// Problems with images that cannot be read, and with classes of which none can be; and the number of images that an
/// EXIF orientation turns.
fn broken_images(found: &Recognised, decode: bool, watch: Watch) -> (Vec<Problem>, usize) {
    let splits = &found.splits;
    let mut all: Vec<(&Sample, bool)> = Vec::new();
    all.extend(splits.train.iter().map(|sample| (sample, true)));
    all.extend(splits.val.iter().chain(&splits.test).flatten().map(|sample| (sample, false)));
    // Reading an archive from its start to its end is fastest.
    all.sort_by_key(|(sample, _)| sample.source.position());
    let look = |sample: &Sample| {
        let turned = sample.source.check_header()?;
        if decode {
            sample.source.load()?;
        }
        Ok(turned)
    };
    let done = watch("images read", all.len());
    let check = |(sample, _): &(&Sample, bool)| {
        let found = look(sample);
        done();
        found
    };
    let checked: Vec<Result<bool>> = all.par_iter().map(check).collect();
    drop(done);
    let turned = checked.iter().filter(|checked| matches!(checked, Ok(true))).count();
    let mut readable = vec![(0, 0); splits.classes.len()];
    for ((sample, train), checked) in all.iter().zip(&checked) {
        let (images, good) = &mut readable[sample.label as usize];
        *images += usize::from(*train);
        *good += usize::from(*train && checked.is_ok());
    }
    let lost = |(class, (images, good)): (&String, (usize, usize))| {
        (images > 0 && good == 0).then(|| Problem {
            at: found.files.path("").display().to_string(),
            what: format!(
                "class {class:?}: not one of {} to train on can be read",
                text::count(images, "image")
            ),
            mend: "repair the images, or remove the class".into(),
        })
    };
    let lost = splits.classes.iter().zip(readable).filter_map(lost);
    (lost.chain(checked.into_iter().filter_map(|checked| checked.err().map(Problem::from))).collect(), turned)
}

impl Duplicates {
    /// The problem that they are.
    fn problem(&self) -> Option<Problem> {
        let first = self.pairs.first()?;
        Some(Problem {
            at: first.other.clone(),
            what: format!(
                "{} of val and test are in train too ({} exactly, {} nearly), such as this one: {}",
                text::count(self.exact + self.near, "image"),
                self.exact,
                self.near,
                first.train
            ),
            mend: "remove them from one of the splits: accuracy on them says nothing".into(),
        })
    }
}
