//! Loads a ViT from a checkpoint.

use engine::Tensor;

use super::config::VitConfig;
use super::network::Vit;
use super::{facts, weights};
use crate::Result;
use crate::backbones::family::{LoadOptions, Loaded, Pool, Reading, own_head, shapes};
use crate::backbones::pos_embed::{ClassRow, Interpolation, resize_pos_embed};
use crate::checkpoint::{Checkpoint, hash_tensors};
use crate::params::Params;

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
    let mut originals: Vec<(String, Tensor)> = vec![];
    if options.allow_mismatch && !report.is_empty() {
        Vit::init(stored, &mut drawn, options.seed)?;
    }
    let mut params = Params::default();
    if config.tokens() != stored.tokens() {
        params.room("pos_embed", &[1, config.tokens(), config.embed_dim])?;
    }
    let vit = Vit::build(config, &mut params, |name, shape| {
        let wanted =
            if name == "pos_embed" { vec![1, stored.tokens(), stored.embed_dim] } else { shape.to_vec() };
        let value = match file.entries().get(name).filter(|entry| entry.shape() == wanted) {
            Some(_) => file.tensor(name)?,
            None if fresh && name == "fc_norm.weight" => Tensor::from_vec(vec![1.0; config.embed_dim], shape),
            None if fresh && name == "fc_norm.bias" => Tensor::from_vec(vec![0.0; config.embed_dim], shape),
            None => drawn
                .get(drawn.id(name).expect("a missing key is only let through with values drawn"))
                .clone(),
        };
        originals.push((name.to_string(), value.clone()));
        if value.shape() == shape {
            return Ok(value);
        }
        let (grid, by) = (config.grid(), options.interpolation.unwrap_or(Interpolation::Timm));
        notes
            .push(format!("position embedding resized from {0}x{0} to {grid}x{grid} patches", stored.grid()));
        resize_pos_embed(&value, (grid, grid), ClassRow::First, by)
    })?;
    let hash = hash_tensors(originals.iter().map(|(name, value)| (name.as_str(), value)));
    let (head, files) = (own_head(file, config.embed_dim)?, file.files().to_vec());
    Ok(Loaded { backbone: Box::new(vit), params, head, hash, files, notes })
}
