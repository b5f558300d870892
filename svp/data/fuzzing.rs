//! Entrances for `tests/fuzz` to readers that are private otherwise.

use std::path::Path;

use crate::archive::Archive;
use crate::error::Result;
use crate::mat;

/// Opens an archive and reads every member; the errors of members.
///
/// # Errors
/// Those of [`Archive::open`].
pub fn archive(path: &Path) -> Result<Vec<String>> {
    let archive = Archive::open(path)?;
    archive.list("");
    Ok(archive.below("").filter_map(|member| archive.read(member).err()).collect())
}

/// Reads a MATLAB file's variables of these names and looks at them in every way; how many there are.
///
/// # Errors
/// In a few words, what is wrong with the file.
pub fn mat(file: &[u8], names: &[&str]) -> std::result::Result<usize, String> {
    let variables = mat::read(file, names)?.all;
    for (_, array) in &variables {
        (array.integers(), array.text(), array.texts());
        for one in array.field("class").into_iter().flatten() {
            (one.integers(), one.text());
        }
    }
    Ok(variables.len())
}
