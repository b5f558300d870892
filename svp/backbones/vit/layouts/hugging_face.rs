//! Checkpoints with the names of Hugging Face's `transformers`: `ViTModel`, `ViTForImageClassification`, `DeiTModel`,
//! `ViTMAEModel` and `Dinov2Model`, alone or behind the name of the model.
//!
//! Query, key and value are three products there. Heads, eps and normalisation stand in `config.json` and
//! `preprocessor_config.json` beside the file; without them eps is the default of these programs.
//!
//! Source: `models/vit/modeling_vit.py`, `models/dinov2/modeling_dinov2.py` and their configurations in transformers 5.

use crate::backbones::vit::facts::Facts;
use crate::checkpoint::{Checkpoint, Entries, Entry};
use crate::data::Normalisation;
use crate::data::text::first;
use crate::{Error, Result};

/// A tensor by which the layout is recognised, and which tells the prefix.
const MARK: &str = "embeddings.cls_token";

/// What a configuration of a ViT has as eps where it says none, and what others have.
const DEFAULT_EPS: f32 = 1e-12;
const DINOV2_EPS: f32 = 1e-6;

/// What is not the backbone's, beside the classifier: the pooler, tokens that training alone uses, MAE's decoder.
const LEFT_OUT: [&str; 3] = ["pooler.", "embeddings.mask_token", "decoder."];

/// Names of what stands once in a model.
const ONCE: [(&str, &str); 6] = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight"),
    ("embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias"),
    ("layernorm.weight", "norm.weight"),
    ("layernorm.bias", "norm.bias"),
];

/// Names of the layers of a block, without `.weight` and `.bias`, and of LayerScale's factors.
const IN_BLOCK: [(&str, &str); 12] = [
    ("layernorm_before", "norm1"),
    ("norm1", "norm1"),
    ("attention.output.dense", "attn.proj"),
    ("layernorm_after", "norm2"),
    ("norm2", "norm2"),
    ("intermediate.dense", "mlp.fc1"),
    ("mlp.fc1", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    ("mlp.fc2", "mlp.fc2"),
    ("attention.attention.query", "attn.qkv"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
];

/// The file under timm's names; `None` where it is not of this layout.
pub(super) fn translated(file: &Checkpoint) -> Result<Option<Checkpoint>> {
    let Some(prefix) = file.entries().keys().find_map(|name| name.strip_suffix(MARK)) else {
        return Ok(None);
    };
    let mut entries = Entries::new();
    let mut left_out = vec![];
    for (full, entry) in file.entries() {
        let name = full.strip_prefix(prefix).unwrap_or(full);
        if LEFT_OUT.iter().any(|part| name.starts_with(part)) {
            left_out.push(full.as_str());
            continue;
        }
        let renamed = renamed(file.entries(), prefix, name, entry).map_err(|what| {
            Error::path(file.path(), format!("{full} {:?} {what}", entry.shape()), "use another checkpoint")
        })?;
        entries.extend(renamed);
    }
    let dinov2 = entries.contains_key("blocks.0.ls1.gamma");
    let imagenet = dinov2 || prefix.starts_with("deit") || file.entries().contains_key("decoder.mask_token");
    let usual = Facts {
        heads: None,
        eps: Some(if dinov2 { DINOV2_EPS } else { DEFAULT_EPS }),
        normalisation: Some(if imagenet { Normalisation::IMAGENET } else { Normalisation::HALF }),
        pool: None,
    };
    let facts = Facts::beside(file.path())?.or(usual);
    let mut note = format!("names of tensors: Hugging Face's, behind `{prefix}`, taken for timm's");
    if !left_out.is_empty() {
        note = format!("{note}; left out: {}", first(left_out));
    }
    Ok(Some(file.with_entries(entries).described(facts.metadata()).noted(note)))
}

/// A tensor by its timm name; `None` for a key or a value, which the query stands for. One of an unknown name keeps it, so
/// that it is refused where tensors are compared.
fn renamed(
    all: &Entries,
    prefix: &str,
    name: &str,
    entry: &Entry,
) -> std::result::Result<Option<(String, Entry)>, &'static str> {
    let plain = |name: String| Ok(Some((name, entry.clone())));
    if let Some((_, own)) = ONCE.iter().find(|(theirs, _)| *theirs == name) {
        return plain((*own).into());
    }
    if let Some(part) = name.strip_prefix("classifier.") {
        return plain(format!("head.{part}"));
    }
    let Some((block, rest)) = block(name) else { return plain(name.into()) };
    let (layer, part) = match rest.rsplit_once('.') {
        Some((layer, part @ ("weight" | "bias"))) => (layer, Some(part)),
        _ => (rest, None),
    };
    if ["attention.attention.key", "attention.attention.value"].contains(&layer) {
        return Ok(None);
    }
    let Some((_, own)) = IN_BLOCK.iter().find(|(theirs, _)| *theirs == layer) else {
        return plain(name.into());
    };
    let own = match part {
        Some(part) => format!("blocks.{block}.{own}.{part}"),
        None => format!("blocks.{block}.{own}"),
    };
    if layer != "attention.attention.query" {
        return plain(own);
    }
    let parts = ["query", "key", "value"].map(|which| {
        let theirs = format!(
            "{prefix}{}",
            name.replacen("attention.attention.query", &format!("attention.attention.{which}"), 1)
        );
        all.get(&theirs).cloned()
    });
    let parts = parts.into_iter().collect::<Option<Vec<_>>>().ok_or("stands without its key or value")?;
    let stacked = Entry::stacked(parts).ok_or("differs in shape from its key or value")?;
    Ok(Some((own, stacked)))
}

/// Number and rest of `encoder.layer.3.REST`.
fn block(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.strip_prefix("encoder.layer.")?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}
