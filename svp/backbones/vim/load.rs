//! Loads a Vim from a checkpoint.

use engine::Tensor;

use super::config::VimConfig;
use super::network::Vim;
use super::weights;
use crate::Result;
use crate::backbones::family::{LoadOptions, Loaded, own_head, shapes};
use crate::backbones::pos_embed::{ClassRow, Interpolation, resize_pos_embed};
use crate::checkpoint::{Checkpoint, hash_tensors};
use crate::params::Params;

/// Whether a key of a classification checkpoint is not the backbone's.
fn is_head(name: &str) -> bool {
    name.starts_with("head.")
        || name.starts_with("head_dist.")
        || name.starts_with("prompt_")
        || name.starts_with("deep_prompt_")
}

/// Loads the backbone of a checkpoint that was recognised as a Vim. Values are those of the file in memory
/// where they can be.
pub(super) fn load(file: &Checkpoint, options: &LoadOptions) -> Result<Loaded> {
    let path = file.path();
    options.reading.refuse("Vim")?;
    let stored = VimConfig::of_shapes(&shapes(file), options.stride).expect("recognised as a Vim before");
    stored.check()?;
    let report = file.compare(&weights::shapes(&stored)).without(is_head);
    report.require(path, options.allow_mismatch, "--allow-mismatch")?;
    let mut notes = vec![];
    if !report.is_empty() {
        notes.push(format!("loaded although {}", report.summary()));
    }

    let config = VimConfig { img_size: options.img_size.unwrap_or(stored.img_size), ..stored };
    config.check()?;
    let mut drawn = Params::default();
    let mut originals: Vec<(String, Tensor)> = vec![];
    if options.allow_mismatch && !report.is_empty() {
        Vim::init(stored, &mut drawn, options.seed)?;
    }
    let mut params = Params::default();
    if config.tokens() != stored.tokens() {
        params.room("pos_embed", &[1, config.tokens(), config.embed_dim])?;
    }
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
        let by = options.interpolation.unwrap_or(Interpolation::Bicubic);
        resize_pos_embed(&value, (grid, grid), options.class_row, by)
    })?;
    let hash = hash_tensors(originals.iter().map(|(name, value)| (name.as_str(), value)));
    let (head, files) = (own_head(file, config.embed_dim)?, file.files().to_vec());
    Ok(Loaded { backbone: Box::new(vim), params, head, hash, files, notes })
}
