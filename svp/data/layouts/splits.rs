//! What the reader of a layout finds.

use std::fmt;
use std::path::PathBuf;

use super::lists::Missing;
use crate::sample::Sample;

// The forms in which data sets come, as they are called in messages.
pub(super) const BINARY: &str = "binary files";
pub(super) const CLASSES: &str = "class folders without splits";
pub(super) const FOLDERS: &str = "class folders";
pub(super) const JSON: &str = "JSON splits";
pub(super) const LISTS: &str = "lists";
pub(super) const ROWS: &str = "one list";
pub(super) const MAT: &str = "MATLAB files";
pub(super) const PICKLES: &str = "Python pickles";
pub(super) const PPM: &str = "class folders and a csv";
pub(super) const TABLES: &str = "text tables";
pub(super) const VTAB_JOINT: &str = "one list of 1,000";
pub(super) const VTAB_PAIR: &str = "lists of 800 and 200";

/// The splits of a data set; `val` and `test` may be missing.
#[derive(Default)]
pub(crate) struct Splits {
    /// The form that they were read from.
    pub form: &'static str,
    pub classes: Vec<String>,
    pub train: Vec<Sample>,
    pub val: Option<Vec<Sample>>,
    pub test: Option<Vec<Sample>>,
    /// Facts for the log, each in a line.
    pub notes: Vec<String>,
    /// The images that lists name and that are missing.
    pub missing: Vec<Missing>,
    /// Pictures that are there and are no sample.
    pub left_out: Vec<LeftOut>,
    /// Whether nothing says which images are for test, so that some may be held out.
    pub unsplit: bool,
}

/// Pictures that are there and are no sample.
#[derive(Debug, Clone)]
pub(crate) struct LeftOut {
    /// The file or folder.
    pub at: PathBuf,
    /// Why they are left out.
    pub what: String,
    /// What to do about it.
    pub mend: String,
    /// Whether it is a fault, and not the way in which such sets are given.
    pub fault: bool,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "left out: {}: {}; {}", self.at.display(), self.what, self.mend)
    }
}

/// What a data set is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Training, for which there are images to train on, and whose classes are those of all splits.
    Train,
    /// Measuring a model on whatever is labelled: one split may be enough, and each may have classes of its own.
    Measure,
}

/// Names of splits, in upper or lower case.
pub(super) const TRAIN_NAMES: [&str; 2] = ["train", "training"];
/// Names of validation splits.
pub(super) const VAL_NAMES: [&str; 5] = ["val", "valid", "validation", "dev", "eval"];
/// Names of test splits.
pub(super) const TEST_NAMES: [&str; 2] = ["test", "testing"];

/// A split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    Train,
    Val,
    Test,
}

impl Split {
    /// The split that a folder or a field names.
    pub fn named(name: &str) -> Option<Split> {
        let has = |names: &[&str]| names.iter().any(|own| own.eq_ignore_ascii_case(name.trim()));
        match () {
            () if has(&TRAIN_NAMES) => Some(Split::Train),
            () if has(&VAL_NAMES) => Some(Split::Val),
            () if has(&TEST_NAMES) => Some(Split::Test),
            () => None,
        }
    }
}

/// A class as a list names it. Numbers are ordered by their values, texts by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Id::Number(n) => n.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

/// The ids of classes written as texts: numbers if all of them are, without zeros in front, or else texts.
pub(super) fn ids<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Vec<Id> {
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| n.to_string() == text);
    match texts.clone().map(number).collect::<Option<Vec<i64>>>() {
        Some(numbers) => numbers.into_iter().map(Id::Number).collect(),
        None => texts.map(|text| Id::Text(text.into())).collect(),
    }
}

/// Says that the numbers of classes do not run from 0 on, where they do not.
pub(super) fn gaps(numbers: &[i64]) -> Option<String> {
    let (first, last) = (numbers.first()?, numbers.last()?);
    let n = numbers.len();
    let whole = last - first + 1 == n as i64;
    (!whole || *first != 0).then(|| {
        let gaps = if whole { "" } else { ", with gaps" };
        format!("the labels go from {first} to {last}{gaps}: they are {n} classes, called by those numbers")
    })
}
