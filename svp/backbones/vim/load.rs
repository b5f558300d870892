//! Loads a Vim from a checkpoint.

use super::config::VimConfig;
use super::network::Vim;
use super::weights;
use crate::Result;
use crate::backbones::family::{LoadOptions, Loaded, shapes};
use crate::backbones::filling::Filling;
use crate::backbones::pos_embed::{ClassRow, Interpolation, resize_pos_embed};
use crate::checkpoint::Checkpoint;
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
    if options.allow_mismatch && !report.is_empty() {
        Vim::init(stored, &mut drawn, options.seed)?;
    }
    let mut params = Params::default();
    if config.tokens() != stored.tokens() {
        params.room("pos_embed", &[1, config.tokens(), config.embed_dim])?;
    }
    let mut filling = Filling::new(file, drawn, [stored.tokens(), stored.embed_dim]);
    let vim = Vim::build(config, &mut params, |name, shape| {
        let value = filling.value(name, shape)?;
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
    filling.loaded(Box::new(vim), params, config.embed_dim, notes)
}
