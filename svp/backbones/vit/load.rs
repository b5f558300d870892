//! Loads a ViT from a checkpoint.

use engine::Tensor;

use super::config::VitConfig;
use super::network::Vit;
use super::{facts, weights};
use crate::Result;
use crate::backbones::family::{LoadOptions, Loaded, Pool, Reading, shapes};
use crate::backbones::filling::Filling;
use crate::backbones::pos_embed::{ClassRow, Interpolation, resize_pos_embed};
use crate::checkpoint::Checkpoint;
use crate::params::{BACKBONE, Params};

/// What a checkpoint may hold beside the backbone: heads and projectors, MAE's decoder, tokens that training alone uses, and
/// what methods add.
const BESIDE: [&str; 7] =
    ["head.", "head_dist.", "pre_logits.", "decoder_", "mask_token", "prompt_", "deep_prompt_"];

fn is_beside(name: &str) -> bool {
    BESIDE.iter().any(|begin| name.starts_with(begin))
}

/// The sizes that a recognised checkpoint has at a stride, and what is told about what its tensors leave open.
///
/// # Errors
/// What is left open and not said anywhere, and sizes that no model can have.
pub(super) fn stored(
    file: &Checkpoint,
    stride: Option<usize>,
    reading: &Reading,
) -> Result<(VitConfig, Vec<String>)> {
    let shaped = VitConfig::of_shapes(&shapes(file), stride).expect("recognised as a ViT before");
    let (config, notes) = facts::complete(shaped, file, reading)?;
    config.check()?;
    Ok((config, notes))
}

/// Loads the backbone of a checkpoint that was recognised as a ViT. Values are those of the file in memory where they can
/// be.
pub(super) fn load(file: &Checkpoint, options: &LoadOptions) -> Result<Loaded> {
    let (stored, mut notes) = stored(file, options.stride, &options.reading)?;
    // A norm that is not the one of this pooling is left out, and a new one is no loss.
    let fresh = stored.pool == Pool::Mae && !file.entries().contains_key("fc_norm.weight");
    let unused = |name: &str| name.starts_with(if stored.pool == Pool::Mae { "norm." } else { "fc_norm." });
    let report = file.compare(&weights::shapes(&stored));
    let report =
        report.without(|name| is_beside(name) || unused(name) || (fresh && name.starts_with("fc_norm.")));
    report.require(file.path(), options.allow_mismatch, "--allow-mismatch")?;
    if !report.is_empty() {
        notes.push(format!("loaded although {}", report.summary()));
    }
    let config = VitConfig { img_size: options.img_size.unwrap_or(stored.img_size), ..stored };
    config.check()?;
    let mut drawn = Params::default();
    if options.allow_mismatch && !report.is_empty() {
        Vit::init(stored, &mut drawn, options.seed)?;
    } else if fresh {
        for (part, value) in [("weight", 1.0), ("bias", 0.0)] {
            let value = Tensor::from_vec(vec![value; stored.embed_dim], &[stored.embed_dim]);
            drawn.add(BACKBONE, format!("fc_norm.{part}"), value, false);
        }
    }
    let mut params = Params::default();
    if config.tokens() != stored.tokens() {
        params.room("pos_embed", &[1, config.tokens(), config.embed_dim])?;
    }
    let mut filling = Filling::new(file, drawn, [stored.tokens(), stored.embed_dim]);
    let vit = Vit::build(config, &mut params, |name, shape| {
        let value = filling.value(name, shape)?;
        if value.shape() == shape {
            return Ok(value);
        }
        let (grid, by) = (config.grid(), options.interpolation.unwrap_or(Interpolation::Timm));
        notes
            .push(format!("position embedding resized from {0}x{0} to {grid}x{grid} patches", stored.grid()));
        resize_pos_embed(&value, (grid, grid), ClassRow::First, by)
    })?;
    filling.loaded(Box::new(vit), params, config.embed_dim, notes)
}
