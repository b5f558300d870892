//! The committed kernels, as files.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::root::root;

/// Every `kernel.ptx` of the layers that have kernels.
pub fn files() -> Vec<PathBuf> {
    let root = root();
    let folders =
        ["ptx", "engine"].map(|layer| fs::read_dir(root.join(layer)).expect("a folder of the project"));
    let files = folders.into_iter().flatten().map(|entry| entry.expect("readable").path().join("kernel.ptx"));
    let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// The names behind `.entry` in a PTX text.
pub fn entries(text: &str) -> Vec<String> {
    let name = |rest: &str| {
        rest.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().map(Into::into)
    };
    text.split(".entry").skip(1).filter_map(name).collect()
}

/// The names of all committed kernels.
pub fn names() -> BTreeSet<String> {
    let text = |path| fs::read_to_string(path).expect("a committed kernel");
    files().into_iter().flat_map(|path| entries(&text(path))).collect()
}
