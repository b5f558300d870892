//! The `.npz` files of Google's `vision_transformer`, those of "How to train your ViT?" (AugReg) and those of `big_vision`.
//!
//! Kernels are `[in out]`, those of the attention `[in heads channels]` or `[heads channels out]`, and that of the patch
//! embedding `[height width in out]`. AugReg's files have the prefix `opt/target/`; `big_vision` counts the parts of a
//! block otherwise.
//!
//! Source: `load` in `vit_jax/checkpoint.py` and `models_vit.py` of `google-research/vision_transformer`.

use crate::backbones::vit::facts::Facts;
use crate::checkpoint::{Checkpoint, Entries, Entry};
use crate::data::Normalisation;
use crate::data::text::first;
use crate::{Error, Result};

/// A tensor by which the layout is recognised, and which tells the prefix.
const MARK: &str = "Transformer/encoder_norm/scale";

/// The file under timm's names; `None` where it is not of this layout.
pub(super) fn translated(file: &Checkpoint) -> Result<Option<Checkpoint>> {
    let Some(prefix) = file.entries().keys().find_map(|name| name.strip_suffix(MARK)) else {
        return Ok(None);
    };
    let own: Entries = file
        .entries()
        .iter()
        .filter_map(|(name, entry)| Some((name.strip_prefix(prefix)?.to_string(), entry.clone())))
        .collect();
    let mut entries = Entries::new();
    for (name, entry) in &own {
        let renamed = renamed(name, entry, &own).map_err(|what| {
            Error::path(file.path(), format!("{name} {:?} {what}", entry.shape()), "use another checkpoint")
        })?;
        entries.extend(renamed);
    }
    let heads = own.iter().find(|(name, _)| name.ends_with("query/kernel")).map(|(_, entry)| entry.shape());
    let heads = heads.and_then(|shape| shape.get(1).copied());
    let facts = Facts { heads, eps: None, normalisation: Some(Normalisation::HALF), pool: None };
    let mut note = format!("names of tensors: those of Google's files, behind `{prefix}`, taken for timm's");
    let outside: Vec<_> = file.entries().keys().filter(|name| !name.starts_with(prefix)).collect();
    if !outside.is_empty() {
        note = format!("{note}; left out: {}", first(outside));
    }
    Ok(Some(file.with_entries(entries).described(facts.metadata()).noted(note)))
}

/// A tensor by its timm name; `None` for those that are part of another one or of a head that is not used. One of an unknown
/// name keeps it, so that it is refused where tensors are compared.
fn renamed(
    name: &str,
    entry: &Entry,
    all: &Entries,
) -> std::result::Result<Option<(String, Entry)>, &'static str> {
    let plain = |name: &str| Ok(Some((name.to_string(), entry.clone())));
    let kernel = |name: &str| Ok(Some((format!("{name}.weight"), product(entry)?)));
    match name {
        "cls" => plain("cls_token"),
        "Transformer/posembed_input/pos_embedding" | "pos_embedding" => plain("pos_embed"),
        "embedding/kernel" => {
            let weight = entry.permuted(&[3, 2, 0, 1]).ok_or("must have four axes")?;
            Ok(Some(("patch_embed.proj.weight".into(), weight)))
        }
        "embedding/bias" => plain("patch_embed.proj.bias"),
        "Transformer/encoder_norm/scale" => plain("norm.weight"),
        "Transformer/encoder_norm/bias" => plain("norm.bias"),
        "head/kernel" => kernel("head"),
        "head/bias" => plain("head.bias"),
        // A layer between features and head, which adapting the backbone to other classes leaves out.
        _ if name.starts_with("pre_logits/") => Ok(None),
        _ => match block(name) {
            Some((block, part)) => of_block(block, part, entry, all).map(|found| match found {
                Found::As(name, entry) => Some((format!("blocks.{block}.{name}"), entry)),
                Found::Part => None,
                Found::Unknown => Some((name.to_string(), entry.clone())),
            }),
            None => plain(name),
        },
    }
}

/// Number and rest of `Transformer/encoderblock_3/REST`.
fn block(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.strip_prefix("Transformer/encoderblock_")?.split_once('/')?;
    Some((number.parse().ok()?, rest))
}

enum Found {
    /// The tensor of this name in a block.
    As(&'static str, Entry),
    /// A part of a tensor that another part stands for.
    Part,
    Unknown,
}

/// A tensor of a block.
fn of_block(
    block: usize,
    part: &str,
    entry: &Entry,
    all: &Entries,
) -> std::result::Result<Found, &'static str> {
    let Some((layer, rest)) = part.split_once('/') else { return Ok(Found::Unknown) };
    let plain = |name| Ok(Found::As(name, entry.clone()));
    match (layer, rest) {
        ("LayerNorm_0", "scale") => plain("norm1.weight"),
        ("LayerNorm_0", "bias") => plain("norm1.bias"),
        ("LayerNorm_1" | "LayerNorm_2", "scale") => plain("norm2.weight"),
        ("LayerNorm_1" | "LayerNorm_2", "bias") => plain("norm2.bias"),
        ("MlpBlock_0" | "MlpBlock_3", "Dense_0/kernel") => Ok(Found::As("mlp.fc1.weight", product(entry)?)),
        ("MlpBlock_0" | "MlpBlock_3", "Dense_0/bias") => plain("mlp.fc1.bias"),
        ("MlpBlock_0" | "MlpBlock_3", "Dense_1/kernel") => Ok(Found::As("mlp.fc2.weight", product(entry)?)),
        ("MlpBlock_0" | "MlpBlock_3", "Dense_1/bias") => plain("mlp.fc2.bias"),
        ("MultiHeadDotProductAttention_0" | "MultiHeadDotProductAttention_1", _) => {
            let stacked = |suffix: &str, of: fn(&Entry) -> std::result::Result<Entry, &'static str>| {
                let parts = ["query", "key", "value"].map(|which| {
                    let name = format!("Transformer/encoderblock_{block}/{layer}/{which}/{suffix}");
                    all.get(&name).ok_or("stands without its query, key or value").and_then(of)
                });
                let parts = parts.into_iter().collect::<std::result::Result<Vec<_>, _>>()?;
                Entry::stacked(parts).ok_or("differs in shape from its query, key or value")
            };
            match rest {
                "query/kernel" => Ok(Found::As("attn.qkv.weight", stacked("kernel", product)?)),
                "query/bias" => Ok(Found::As("attn.qkv.bias", stacked("bias", flat)?)),
                "key/kernel" | "key/bias" | "value/kernel" | "value/bias" => Ok(Found::Part),
                "out/kernel" => {
                    let &[heads, channels, out] = entry.shape() else { return Err("must have three axes") };
                    let inside = heads.saturating_mul(channels);
                    let weight = entry.reshaped(&[inside, out]).and_then(|entry| entry.permuted(&[1, 0]));
                    Ok(Found::As("attn.proj.weight", weight.ok_or(ORDER)?))
                }
                "out/bias" => plain("attn.proj.bias"),
                _ => Ok(Found::Unknown),
            }
        }
        _ => Ok(Found::Unknown),
    }
}

const ORDER: &str = "is not in the order in which rows follow each other";

/// The weight `[out in]` of a kernel `[in out..]`.
fn product(kernel: &Entry) -> std::result::Result<Entry, &'static str> {
    let Some((&first, rest)) = kernel.shape().split_first() else { return Err("must have two axes or more") };
    let out = rest.iter().fold(1usize, |n, &dim| n.saturating_mul(dim));
    kernel.reshaped(&[first, out]).and_then(|entry| entry.permuted(&[1, 0])).ok_or(ORDER)
}

/// All values in one row.
fn flat(entry: &Entry) -> std::result::Result<Entry, &'static str> {
    let n = entry.shape().iter().fold(1usize, |n, &dim| n.saturating_mul(dim));
    entry.reshaped(&[n]).ok_or(ORDER)
}
