//! What the reader of a layout finds.

use super::lists::Missing;
use crate::sample::Sample;

// The forms in which data sets come, as they are called in messages.
pub(super) const BINARY: &str = "binary files";
pub(super) const FOLDERS: &str = "class folders";
pub(super) const JSON: &str = "JSON splits";
pub(super) const LISTS: &str = "lists";
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
}
