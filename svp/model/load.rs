//! A backbone from a checkpoint.

use std::collections::BTreeMap;

use engine::Tensor;

use super::{Params, Vim, VimConfig};
use crate::checkpoint::{Checkpoint, ClassRow, hash_tensors, resize_pos_embed};
use crate::{Error, Result};

/// How a checkpoint is read.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// Input size of the new task; another than the checkpoint's resizes the position embedding.
    pub img_size: Option<usize>,
    /// Pixels between patches where the shapes do not tell.
    pub stride: Option<usize>,
    /// Which row of the position embedding is taken for the class token's when it is resized.
    pub class_row: ClassRow,
    /// Go on with keys missing, unexpected or of another shape (missing ones get initial values).
    pub allow_mismatch: bool,
    pub seed: u64,
}

/// A frozen backbone.
pub struct LoadedVim {
    pub vim: Vim,
    pub params: Params,
    /// Identifies the weights as they are in the file, whatever its format.
    pub hash: String,
    /// Facts for the log, a line each.
    pub notes: Vec<String>,
}

/// Keys beside the backbone that a classification checkpoint may have.
fn is_head(name: &str) -> bool {
    name.starts_with("head.") || name.starts_with("head_dist.") || name.starts_with("prompt_")
}

/// Loads the backbone of a checkpoint; values stay in the mapped file where they can.
pub fn load(file: &Checkpoint, options: LoadOptions) -> Result<LoadedVim> {
    let path = file.path();
    let shapes: BTreeMap<&str, &[usize]> =
        file.entries().iter().map(|(name, entry)| (name.as_str(), entry.shape())).collect();
    let not_vim = || {
        let what = "is not a Vim checkpoint (cls_token, pos_embed on a square grid, patch_embed or layers.0 is missing)";
        Error::path(path, what, "give a Vim with a middle class token, saved as .pth or .safetensors")
    };
    let stored = VimConfig::of_shapes(&shapes, options.stride).ok_or_else(not_vim)?;
    stored.check()?;
    let report = file.compare(&Vim::shapes(&stored)).without(is_head);
    report.require(path, options.allow_mismatch, "--allow-mismatch")?;
    let mut notes = vec![];
    if !report.is_empty() {
        notes.push(format!("loaded although {}", report.summary()));
    }

    let config = VimConfig { img_size: options.img_size.unwrap_or(stored.img_size), ..stored };
    let mut drawn = Params::default();
    let mut originals: Vec<(String, Tensor)> = vec![];
    if options.allow_mismatch && !report.is_empty() {
        Vim::init(stored, &mut drawn, options.seed)?;
    }
    let mut params = Params::default();
    let vim = Vim::build(config, &mut params, |name, shape| {
        let wanted =
            if name == "pos_embed" { vec![1, stored.tokens(), stored.embed_dim] } else { shape.to_vec() };
        let value = match file.entries().get(name).filter(|entry| entry.shape() == wanted) {
            Some(_) => file.tensor(name)?,
            None => drawn
                .get(drawn.id(name).expect("a missing key is only let through with values drawn"))
                .clone(),
        };
        originals.push((name.to_string(), value.clone()));
        if value.shape() == shape {
            return Ok(value);
        }
        let grid = config.grid();
        notes.push(format!(
            "position embedding resized from {0}x{0} to {grid}x{grid} patches ({1})",
            stored.grid(),
            match options.class_row {
                ClassRow::Middle => "class token in the middle",
                ClassRow::First => "row 0 kept, as the published loader",
            }
        ));
        resize_pos_embed(&value, (grid, grid), options.class_row)
    })?;
    let hash = hash_tensors(originals.iter().map(|(name, value)| (name.as_str(), value)));
    Ok(LoadedVim { vim, params, hash, notes })
}
