//! Weights in files: reads what others wrote, and writes what is trained here.
//!
//! [`Checkpoint::open`] reads `.pth` (zip and legacy form), `.safetensors` and `.npz`, which it tells apart by content. The
//! file is read into memory: float32 tensors that are row-major and aligned in it are used in place, others are converted
//! once, when they are asked for. So what becomes of the file meanwhile changes nothing. Nothing in a file is ever
//! executed ([`pickle`]), and no file makes the program allocate more than [`engine::budget`] has.
//!
//! [`KeyReport`] compares a file with a model, and [`hash_tensors`] identifies a set of weights. [`save_safetensors`]
//! and [`write_atomically`] write files whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data::mapped::{self, Mmap};
use data::text::{count, first, shown};
use data::{Seen, open_regular};
use engine::Tensor;

use crate::{Error, Result};

mod choice;
mod entry;
mod fault;
mod folder;
mod hash;
mod keys;
mod members;
mod npz;
mod parts;
mod precision;
mod safetensors;
#[cfg(test)]
mod tests;
mod torch;
mod write;

use fault::Fault;
use members::Members;
use torch::state_dict::Dict;

pub use choice::Weights;
pub use data::pickle;
pub use entry::{Dtype, Entries, Entry, Metadata};
pub use hash::hash_tensors;
pub use keys::{KeyReport, MisShaped};
pub use precision::Precision;
pub use safetensors::{save_safetensors, save_safetensors_as};
pub use torch::write::save_torch;
pub use write::{remove_abandoned_beside, remove_partial_files, remove_unfinished, write_atomically};

// Values are used, hashed and written as they lie in memory, so memory must have the byte order of the files.
const _: () = assert!(cfg!(target_endian = "little"), "checkpoints need a little-endian machine");

/// An open file of weights. Clones and the tensors it hands out share its bytes in memory.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    entries: Entries,
    metadata: Metadata,
    /// The key under which a `.pth` held the tensors.
    key: Option<&'static str>,
    /// What stood before the names of the tensors in the file.
    prefix: String,
    allow_non_finite: bool,
    files: Vec<Seen>,
    notes: Vec<String>,
}

impl Checkpoint {
    /// Opens a checkpoint and lists its tensors, without a choice of weights: [`Checkpoint::open_weights`].
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_weights`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_weights(path, None)
    }

    /// Opens a checkpoint and lists its tensors; no weight is read yet. `path` is a file, an index of the parts of a
    /// checkpoint (`*.index.json`), or a folder with one of these alone.
    ///
    /// In a `.pth` the tensors are those under `model`, `state_dict`, `model_state_dict` or `teacher`, or else those at
    /// the top, or else those of a moving average; `weights` chooses where both are there.
    ///
    /// # Errors
    /// A file that cannot be read, is larger than the budget of memory, is damaged, is no checkpoint, or does not hold the weights that are wanted.
    pub fn open_weights(path: &Path, weights: Option<Weights>) -> Result<Self> {
        if path.is_dir() {
            return folder::open(path, weights);
        }
        if path.extension().is_some_and(|ending| ending == "json") {
            return parts::open(path, weights);
        }
        // Looked at before it is read, so that a later look finds any change since.
        let seen = Seen::of(path, &open_regular(path)?)?;
        let file = Self::from_map_weights(Arc::new(mapped::map(path)?), path, weights)?;
        Ok(Checkpoint { files: vec![seen], ..file })
    }

    /// Opens a checkpoint that is in memory already; `path` is used in messages alone.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`].
    pub fn from_map(map: Arc<Mmap>, path: &Path) -> Result<Self> {
        Self::from_map_weights(map, path, None)
    }

    fn from_map_weights(map: Arc<Mmap>, path: &Path, weights: Option<Weights>) -> Result<Self> {
        let found = read(&map, weights).map_err(|fault| fault.in_file(path))?;
        let Found { entries, metadata, key, note } = found;
        if let Some(name) = entries.keys().find(|name| name.contains(char::is_control)) {
            return Err(Fault::damaged(format!("tensor name {name:?} has control characters")).in_file(path));
        }
        let file = Checkpoint {
            path: path.into(),
            entries,
            metadata,
            key,
            prefix: String::new(),
            allow_non_finite: false,
            files: vec![],
            notes: vec![],
        };
        Ok(note.into_iter().fold(file, Checkpoint::noted))
    }

    /// Adds a fact for the log. Names in a hostile file may be of any length, so the line is cut.
    pub(crate) fn noted(mut self, line: String) -> Self {
        self.notes.push(shown(&line).chars().take(fault::MAX_FINDING).collect());
        self
    }

    /// The tensors whose names begin with `prefix`, under the rest of their names. Prefix, and tensors without it, which
    /// are left out, are noted.
    pub fn under(&self, prefix: &str) -> Self {
        let (inside, outside): (Vec<_>, Vec<_>) =
            self.entries.iter().partition(|(name, _)| name.starts_with(prefix));
        let mut line = format!("`{prefix}` is taken off the names of {}", count(inside.len(), "tensor"));
        if !outside.is_empty() {
            let names = first(outside.iter().map(|(name, _)| name));
            line = format!("{line}; left out without it: {} ({names})", outside.len());
        }
        let stripped = |(name, entry): (&String, &Entry)| (name[prefix.len()..].to_string(), entry.clone());
        let entries = inside.into_iter().map(stripped).collect();
        let prefix = self.prefix.clone() + prefix;
        Checkpoint { entries, prefix, ..self.clone() }.noted(line)
    }

    /// The same file with other tensors: those of the file under other names, in other views.
    pub(crate) fn with_entries(&self, entries: Entries) -> Self {
        Checkpoint { entries, ..self.clone() }
    }

    /// The same file with further metadata; what it says itself wins.
    pub(crate) fn described(&self, metadata: Metadata) -> Self {
        let metadata = metadata.into_iter().chain(self.metadata.clone()).collect();
        Checkpoint { metadata, ..self.clone() }
    }

    /// The same file with metadata that replace what it says itself.
    pub(crate) fn redescribed(mut self, metadata: Metadata) -> Self {
        self.metadata.extend(metadata);
        self
    }

    /// The key under which a `.pth` held the tensors, such as `model`; `None` where they stood at the top.
    pub fn key(&self) -> Option<&'static str> {
        self.key
    }

    /// What was taken off the names of the tensors, such as `module.`.
    pub fn prefix(&self) -> &str {
        &self.prefix
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

    /// The files that it was read from.
    pub fn files(&self) -> &[Seen] {
        &self.files
    }

    /// Facts about how the file was read, one line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
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

/// What is in a file.
struct Found {
    entries: Entries,
    metadata: Metadata,
    key: Option<&'static str>,
    note: Option<String>,
}

/// What to do about a choice of weights where there is none.
const NO_CHOICE: (&str, &str) =
    ("holds one set of weights, so there is none to choose", "leave out --weights");

fn read(map: &Arc<Mmap>, weights: Option<Weights>) -> std::result::Result<Found, Fault> {
    let torch = |Dict { entries, key, note }| Found { entries, metadata: Metadata::new(), key, note };
    let chosen = || match weights {
        None => Ok(()),
        Some(_) => Err(Fault::new(NO_CHOICE.0, NO_CHOICE.1)),
    };
    let starts = |magic: &[u8]| map.starts_with(magic);
    if map.is_empty() {
        Err(Fault::damaged("is empty"))
    } else if starts(members::MAGIC) {
        let members = Members::open(map)?;
        if !npz::is_npz(&members) {
            return torch::zip::read(members, weights).map(torch);
        }
        chosen()?;
        let (entries, note) = npz::read(members)?;
        Ok(Found { entries, metadata: Metadata::new(), key: None, note })
    } else if map.get(8) == Some(&b'{') {
        // This is asked before the pickle, because the length of a header, which comes first, can begin like a pickle.
        let (entries, metadata) = safetensors::read(map)?;
        chosen()?;
        Ok(Found { entries, metadata, key: None, note: None })
    } else if starts(&[0x80]) {
        torch::legacy::read(map, weights).map(torch)
    } else if starts(b"version https://git-lfs") {
        Err(Fault::new("is a Git LFS pointer, not the weights", "run `git lfs pull`"))
    } else if map.trim_ascii_start().starts_with(b"<") {
        Err(Fault::new("is a web page, not a checkpoint", "download the file itself"))
    } else {
        Err(Fault::new(
            "is neither .pth nor .safetensors nor .npz",
            "give a checkpoint in one of these formats",
        ))
    }
}
