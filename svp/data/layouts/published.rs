//! What the readers of published data sets have in common.

use crate::error::{Error, Result};
use crate::files::Files;
use crate::mat::{self, Variable};
use crate::sample::Sample;
use crate::shuffle::shuffled;

/// An error about a file of a published data set.
pub(super) fn damaged(files: &Files, file: &str, what: impl Into<String>) -> Error {
    let what = what.into();
    let hint = match what.contains("(--max-memory)") {
        true => "raise it, if the file is the published one",
        false => "the file is damaged or not the published one: get it again",
    };
    Error::path(&files.path(file), what, hint)
}

/// A variable of a MATLAB file.
pub(super) fn variable(files: &Files, file: &str, name: &str) -> Result<Variable> {
    let damaged = |what: String| damaged(files, file, what);
    let variables = mat::read(&files.read(file)?, &[name]).map_err(damaged)?;
    variables.into_first().ok_or_else(|| damaged(format!("has no variable {name}")))
}

/// Turns (class, path) into (path, label). `classes` are sorted.
pub(super) fn labelled(
    files: &Files,
    list: &str,
    entries: Vec<(String, String)>,
    classes: &[String],
) -> Result<Vec<(String, u32)>> {
    let label = |(class, path): (String, String)| match classes.binary_search(&class) {
        Ok(label) => Ok((path, label as u32)),
        Err(_) => Err(damaged(files, list, format!("has the class {class:?}, which training does not have"))),
    };
    entries.into_iter().map(label).collect()
}

/// int(0.8 n): how many of n training images the published program keeps.
pub(super) fn parts_of_80(n: usize) -> usize {
    (0.8 * n as f64) as usize
}

/// Draws the training and the validation split as the published program does: it shuffles all samples and trains on the
/// first 80 %. The rest, which it never reads, validates.
pub(super) fn published_80(all: Vec<Sample>, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    let order = shuffled(all.len(), seed);
    let (train, val) = order.split_at(parts_of_80(all.len()));
    let pick = |part: &[u32]| part.iter().map(|&i| all[i as usize].clone()).collect();
    (pick(train), pick(val))
}
