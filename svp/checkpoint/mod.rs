//! Weights in files: reads what others wrote, and writes what is trained here.
//!
//! [`Checkpoint::open`] reads `.pth` (zip and legacy form) and `.safetensors`, which it tells apart by content. The
//! file is mapped: float32 tensors that are row-major and aligned in it are used in place, others are converted once,
//! when they are asked for. Nothing in a file is ever executed ([`pickle`]), and no file makes the program allocate
//! much more than its own size.
//!
//! [`KeyReport`] compares a file with a model, and [`hash_tensors`] identifies a set of weights. [`save_safetensors`]
//! and [`write_atomically`] write files whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data::mapped::{self, Mmap};
use engine::Tensor;

use crate::{Error, Result};

mod entry;
mod fault;
mod hash;
mod keys;
mod safetensors;
#[cfg(test)]
mod tests;
mod torch;
mod write;

use fault::Fault;

pub use data::pickle;
pub use entry::{Dtype, Entries, Entry, Metadata};
pub use hash::hash_tensors;
pub use keys::{KeyReport, MisShaped};
pub use safetensors::{Precision, save_safetensors, save_safetensors_as};
pub use write::{remove_partial_files, remove_unfinished, write_atomically};

// Values are used, hashed and written as they lie in memory, so memory must have the byte order of the files.
const _: () = assert!(cfg!(target_endian = "little"), "checkpoints need a little-endian machine");

/// An open file of weights. Clones and the tensors it hands out share the mapping.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    entries: Entries,
    metadata: Metadata,
    allow_non_finite: bool,
}

impl Checkpoint {
    /// Opens a checkpoint and lists its tensors; no weight is read yet. In a `.pth` these are the tensors under
    /// `model`, `state_dict` or `model_state_dict`, or else those at the top, without a common `module.` prefix.
    ///
    /// The file must not be changed while the checkpoint or one of its tensors lives. Replacing it by renaming another
    /// file over it, as [`write_atomically`] does, is fine.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or is no checkpoint.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Err(Error::path(path, "is a folder", "give the checkpoint file in it"));
        }
        Self::from_map(Arc::new(mapped::map(path)?), path)
    }

    /// Opens a checkpoint that is mapped already; `path` is used in messages alone.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`].
    pub fn from_map(map: Arc<Mmap>, path: &Path) -> Result<Self> {
        let (entries, metadata) = read(&map).map_err(|fault| fault.in_file(path))?;
        if let Some(name) = entries.keys().find(|name| name.contains(char::is_control)) {
            return Err(Fault::damaged(format!("tensor name {name:?} has control characters")).in_file(path));
        }
        Ok(Checkpoint { path: path.into(), entries, metadata, allow_non_finite: false })
    }

    /// Sets whether [`tensor`](Self::tensor) returns weights with NaN or infinity, which it refuses by default.
    pub fn allow_non_finite(mut self, allow: bool) -> Self {
        self.allow_non_finite = allow;
        self
    }

    /// Path of the file, as messages name it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, sorted by name.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// The text metadata of a `.safetensors` file; it is empty for other files.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads one tensor as f32, in place where the file allows it and converted otherwise.
    ///
    /// # Errors
    /// An unknown name, a tensor that is not floating-point, and a value that is not finite.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let entry = self.entries.get(name).ok_or_else(|| {
            Error::path(&self.path, format!("has no tensor {name}"), "give a checkpoint of the same model")
        })?;
        let place = format!("tensor {name}");
        let tensor = entry.tensor().map_err(|fault| fault.at(&place).in_file(&self.path))?;
        if !self.allow_non_finite {
            let hint = "these weights are broken: use another checkpoint";
            tensor.check_finite(&place).map_err(|e| Fault::new(e.to_string(), hint).in_file(&self.path))?;
        }
        Ok(tensor)
    }

    /// Compares the tensors of this file with the names and shapes that a model expects.
    pub fn compare(&self, expected: &[(String, Vec<usize>)]) -> KeyReport {
        KeyReport::new(expected, self.entries.iter().map(|(name, entry)| (name.as_str(), entry.shape())))
    }
}

fn read(map: &Arc<Mmap>) -> std::result::Result<(Entries, Metadata), Fault> {
    let starts = |magic: &[u8]| map.starts_with(magic);
    if map.is_empty() {
        Err(Fault::damaged("is empty"))
    } else if starts(torch::zip::MAGIC) {
        Ok((torch::zip::read(map)?, Metadata::new()))
    } else if map.get(8) == Some(&b'{') {
        // This is asked before the pickle, because the length of a header, which comes first, can begin like a pickle.
        safetensors::read(map)
    } else if starts(&[0x80]) {
        Ok((torch::legacy::read(map)?, Metadata::new()))
    } else if starts(b"version https://git-lfs") {
        Err(Fault::new("is a Git LFS pointer, not the weights", "run `git lfs pull`"))
    } else if map.trim_ascii_start().starts_with(b"<") {
        Err(Fault::new("is a web page, not a checkpoint", "download the file itself"))
    } else {
        Err(Fault::new("is neither .pth nor .safetensors", "give a checkpoint in one of these formats"))
    }
}
