//! What the readers of lists have in common.

use std::path::PathBuf;

use crate::error::Error;
use crate::files::Files;
use crate::sample::Sample;
use crate::source::Source;
use crate::text;

/// The images that a list names and that are not read.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    /// The list.
    pub list: PathBuf,
    /// The number of images that it names.
    pub listed: usize,
    /// Those that are not read, of which there is at least one.
    pub images: Vec<PathBuf>,
    /// Whether their paths lead out of the data set, or else there are no such files.
    pub outside: bool,
}

impl Missing {
    /// An error of one line that names the first images.
    pub fn error(&self) -> Error {
        let (how, hint) = match self.outside {
            true => (
                "lie outside of the data set, where its lists may not lead",
                "put them into it, or add --allow-outside if you trust the lists",
            ),
            false => ("are missing", "put the images, or the archive that holds them, next to the list"),
        };
        let images = text::first(self.images.iter().map(|path| path.display().to_string()));
        let what = format!("{} of {} listed images {how}: {images}", self.images.len(), self.listed);
        Error::path(&self.list, what, hint)
    }
}

/// Turns the entries (path below `base`, label) of a list into samples. Images that are missing, or not in the data set,
/// go to `missing`.
pub(super) fn samples(
    files: &Files,
    list: &str,
    base: &Files,
    entries: Vec<(String, u32)>,
    missing: &mut Vec<Missing>,
) -> Vec<Sample> {
    let listed = entries.len();
    let mut samples = Vec::with_capacity(listed);
    let (mut absent, mut outside) = (Vec::new(), Vec::new());
    for (path, label) in entries {
        match find(base, &path) {
            Some(source) => samples.push(Sample::new(source, label)),
            None if base.is_outside(&usual(&path)) => outside.push(base.path(&path)),
            None => absent.push(base.path(&path)),
        }
    }
    for (images, outside) in [(absent, false), (outside, true)] {
        if !images.is_empty() {
            missing.push(Missing { list: files.path(list), listed, images, outside });
        }
    }
    samples
}

/// The file of a list's path, which may be written as on Windows, or begin with `./`.
pub(super) fn find(base: &Files, path: &str) -> Option<Source> {
    base.find(path).or_else(|| base.find(&usual(path)))
}

/// A path with `/` between folders, and without `./` in front.
fn usual(path: &str) -> String {
    path.replace('\\', "/").trim_start_matches("./").into()
}

/// The lines of a list that are not blank, with their numbers, which start at 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty())
}

/// An error about a line that is not what it should be.
pub(super) fn bad_line(files: &Files, list: &str, number: usize, line: &str, want: &str) -> Error {
    let mut shown: String = text::shown(line).chars().take(80).collect();
    if shown.len() < line.len() {
        shown.push_str("...");
    }
    let at = format!("{}:{number}", files.path(list).display());
    Error::input(
        at,
        format!("\"{shown}\" is not {want}"),
        "check that it is the right list, and mend the line",
    )
}

/// The first of these files that is there.
pub(super) fn first<'a>(files: &Files, names: &[&'a str]) -> Option<&'a str> {
    names.iter().copied().find(|name| files.has(name))
}
