//! Weights in files: reading what others wrote, writing what we train.
//!
//! [`Checkpoint::open`] reads `.pth` (zip and legacy form) and `.safetensors`, told apart by content. The
//! file is mapped; float32 tensors that lie in it row-major and aligned are used in place, others are
//! converted once, when asked for. Nothing in a file is ever executed ([`pickle`]), and no file makes the
//! program allocate much more than its own size.
//!
//! [`KeyReport`] compares a file with a model, [`hash_tensors`] identifies a set of weights, [`save_safetensors`] and [`write_atomically`]
//! write files whole or not at all.

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
pub use write::{remove_partial_files, write_atomically};

// Values are used, hashed and written as they lie in memory, which must be how they lie in the files.
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
    /// Opens a checkpoint and lists its tensors; no weight is read yet. Of a `.pth` these are the tensors of
    /// `model`, `state_dict` or `model_state_dict`, or of the file itself, without a common `module.` prefix.
    ///
    /// The file must not be changed while the checkpoint or a tensor of it lives; replacing it by renaming
    /// another over it, as [`write_atomically`] does, is fine.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Err(Error::path(path, "is a folder", "give the checkpoint file in it"));
        }
        Self::from_map(Arc::new(mapped::map(path)?), path)
    }

    /// The same for a file that is mapped already; `path` is for messages.
    pub fn from_map(map: Arc<Mmap>, path: &Path) -> Result<Self> {
        let (entries, metadata) = read(&map).map_err(|fault| fault.in_file(path))?;
        if let Some(name) = entries.keys().find(|name| name.contains(char::is_control)) {
            return Err(Fault::damaged(format!("tensor name {name:?} has control characters")).in_file(path));
        }
        Ok(Checkpoint { path: path.into(), entries, metadata, allow_non_finite: false })
    }

    /// Whether [`tensor`](Self::tensor) hands out weights with NaN or infinity; it refuses them at first.
    pub fn allow_non_finite(mut self, allow: bool) -> Self {
        self.allow_non_finite = allow;
        self
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, sorted by name.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// The text metadata of a `.safetensors` file; empty for other files.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// One tensor as f32. In place where the file allows, converted otherwise; an integer tensor, an unknown
    /// name and a value that is not finite are errors.
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

    /// How the tensors of this file compare with those a model wants.
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
        // Before the pickle: the length of a header, which comes first, can begin like one.
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
