//! A folder that holds one checkpoint.

use std::path::Path;

use super::{Checkpoint, Weights};
use crate::{Error, Result};

/// Endings of the names of checkpoints.
const ENDINGS: [&str; 6] = [".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz"];

/// Opens the index in a folder, or else the only checkpoint there, and notes which it is.
pub(super) fn open(folder: &Path, weights: Option<Weights>) -> Result<Checkpoint> {
    let (mut indexes, mut files) = (vec![], vec![]);
    let mut list = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if name.starts_with('.') || !folder.join(&name).is_file() {
                continue;
            }
            if name.ends_with(".index.json") {
                indexes.push(name);
            } else if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                files.push(name);
            }
        }
        Ok(())
    };
    list().map_err(|e| Error::io(folder, "read the folder", &e))?;
    let name = match (&indexes[..], &files[..]) {
        ([index], _) => index,
        ([], [file]) => file,
        _ => return Err(Error::path(folder, "is a folder", "give the checkpoint file in it")),
    };
    Ok(Checkpoint::open_weights(&folder.join(name), weights)?
        .noted(format!("checkpoint: {name} in the folder")))
}
