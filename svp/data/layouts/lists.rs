//! What the readers of lists have in common.

use std::path::PathBuf;

use crate::error::Error;
use crate::files::Files;
use crate::sample::Sample;
use crate::source::Source;
use crate::text;

/// The images that a list names and that are missing.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    /// The list.
    pub list: PathBuf,
    /// The number of images that it names.
    pub listed: usize,
    /// The missing ones, of which there is at least one.
    pub images: Vec<PathBuf>,
}

impl Missing {
    /// An error of one line that names the first images.
    pub fn error(&self) -> Error {
        let first: Vec<String> = self.images.iter().take(3).map(|path| path.display().to_string()).collect();
        let more = if self.images.len() > first.len() { ", ..." } else { "" };
        let what = format!(
            "{} of {} listed images are missing: {}{more}",
            self.images.len(),
            self.listed,
            first.join(", ")
        );
        Error::path(&self.list, what, "put the images, or the archive that holds them, next to the list")
    }
}

/// Turns the entries (path below `base`, label) of a list into samples. Images that are missing go to `missing`.
pub(super) fn samples(
    files: &Files,
    list: &str,
    base: &Files,
    entries: Vec<(String, u32)>,
    missing: &mut Vec<Missing>,
) -> Vec<Sample> {
    let listed = entries.len();
    let mut samples = Vec::with_capacity(listed);
    let mut images = Vec::new();
    for (path, label) in entries {
        match find(base, &path) {
            Some(source) => samples.push(Sample::new(source, label)),
            None => images.push(base.path(&path)),
        }
    }
    if !images.is_empty() {
        missing.push(Missing { list: files.path(list), listed, images });
    }
    samples
}

/// The file of a list's path, which may be written as on Windows, or begin with `./`.
pub(super) fn find(base: &Files, path: &str) -> Option<Source> {
    let usual = || {
        let path = path.replace('\\', "/");
        let path = path.trim_start_matches("./");
        base.find(path)
    };
    base.find(path).or_else(usual)
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
