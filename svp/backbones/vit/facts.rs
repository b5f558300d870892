//! What the tensors of a ViT do not tell: its heads, its eps, its normalisation and what the head reads.
//!
//! They come, first that is there, from the options, from the metadata that this program writes beside tensors or that
//! reading another layout has found, from a `config.json` or `preprocessor_config.json` beside the file, and from what is
//! usual for weights of that kind.

use std::path::Path;

use serde_json::Value;

use super::config::{EPS, VitConfig};
use crate::backbones::family::{Pool, Reading};
use crate::checkpoint::{Checkpoint, Metadata};
use crate::data::Normalisation;
use crate::data::text::read_settings;
use crate::{Error, Result};

// Keys of the metadata.
pub(super) const HEADS: &str = "vit.heads";
const EPSILON: &str = "vit.eps";
/// Mean and deviation of the three channels: six numbers.
const NORMALISATION: &str = "vit.normalisation";
const POOL: &str = "vit.pool";

/// Whose weights they seem to be that MAE's authors have released.
const MAE: &str = "MAE's";

/// Heads of MoCo-v3's ViT-S, twice as many as others of its width have.
const MOCO_SMALL: (usize, usize) = (384, 12);

/// What is known; `None` where nothing says it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Facts {
    /// Heads of the attention.
    pub heads: Option<usize>,
    /// What is added to the variance in every norm.
    pub eps: Option<f32>,
    /// Mean and deviation for normalising images.
    pub normalisation: Option<Normalisation>,
    /// What the head reads.
    pub pool: Option<Pool>,
}

impl Facts {
    /// Those of `self`, and of `other` where it has none.
    pub fn or(self, other: Facts) -> Facts {
        Facts {
            heads: self.heads.or(other.heads),
            eps: self.eps.or(other.eps),
            normalisation: self.normalisation.or(other.normalisation),
            pool: self.pool.or(other.pool),
        }
    }

    /// As text by key.
    pub fn metadata(&self) -> Metadata {
        let six = |n: Normalisation| [n.mean, n.std].concat().iter().map(f32::to_string).collect::<Vec<_>>();
        [
            (HEADS, self.heads.map(|heads| heads.to_string())),
            (EPSILON, self.eps.map(|eps| eps.to_string())),
            (NORMALISATION, self.normalisation.map(|n| six(n).join(" "))),
            (POOL, self.pool.and_then(|pool| Some(serde_json::to_value(pool).ok()?.as_str()?.to_string()))),
        ]
        .into_iter()
        .filter_map(|(key, text)| Some((key.to_string(), text?)))
        .collect()
    }

    /// Those in the metadata of a file.
    ///
    /// # Errors
    /// Text that says none of them.
    fn of_metadata(file: &Checkpoint) -> Result<Facts> {
        let text = |key: &'static str| Some((key, file.metadata().get(key)?.as_str()));
        let wrong = |(key, text): (&str, &str)| {
            let what = format!("says {text:?} for {key} in its metadata");
            Error::path(file.path(), what, "the file is damaged or incomplete: get it again")
        };
        Ok(Facts {
            heads: text(HEADS).map(|it| it.1.parse().map_err(|_| wrong(it))).transpose()?,
            eps: text(EPSILON).map(|it| it.1.parse().map_err(|_| wrong(it))).transpose()?,
            normalisation: text(NORMALISATION).map(|it| six(it.1).ok_or_else(|| wrong(it))).transpose()?,
            pool: text(POOL)
                .map(|it| serde_json::from_value(it.1.into()).map_err(|_| wrong(it)))
                .transpose()?,
        })
    }

    /// Those that files beside a checkpoint say: the `config.json` of transformers or of timm, and the
    /// `preprocessor_config.json` of transformers. None where there is neither, or where they are of another model.
    ///
    /// # Errors
    /// Such a file that cannot be read or is not JSON, and one that says another activation than the exact GELU.
    pub fn beside(checkpoint: &Path) -> Result<Facts> {
        let read = |name: &str| -> Result<Option<Value>> {
            let path = checkpoint.with_file_name(name);
            if !path.is_file() {
                return Ok(None);
            }
            let text = read_settings(&path).map_err(|e| Error::io(&path, "read", &e))?;
            let hint = "get it again, or put the checkpoint in a folder of its own";
            let value = serde_json::from_str(&text)
                .map_err(|e| Error::path(&path, format!("is no JSON ({e})"), hint));
            Ok(Some(value?))
        };
        let config = read("config.json")?.unwrap_or_default();
        let activation = config["hidden_act"].as_str().unwrap_or("gelu");
        if activation != "gelu" {
            let what = format!("says the activation {activation}, and a ViT here has the exact gelu");
            return Err(Error::path(
                &checkpoint.with_file_name("config.json"),
                what,
                "use another checkpoint",
            ));
        }
        let images = read("preprocessor_config.json")?.unwrap_or_default();
        let of = |value: &Value, mean: &str, std: &str| {
            Some(Normalisation { mean: three(&value[mean])?, std: three(&value[std])? })
        };
        let timm = &config["pretrained_cfg"];
        Ok(Facts {
            heads: config["num_attention_heads"].as_u64().and_then(|heads| usize::try_from(heads).ok()),
            eps: config["layer_norm_eps"].as_f64().map(|eps| eps as f32),
            normalisation: of(&images, "image_mean", "image_std").or_else(|| of(timm, "mean", "std")),
            pool: None,
        })
    }
}

/// Six numbers: mean and deviation.
fn six(text: &str) -> Option<Normalisation> {
    let all: Vec<f32> = text.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let usable = all.iter().all(|v| v.is_finite()) && all.iter().skip(3).all(|&std| std > 0.0);
    let (mean, std) = all.split_at_checked(3).filter(|_| usable)?;
    Some(Normalisation { mean: mean.try_into().ok()?, std: std.try_into().ok()? })
}

/// A list of three numbers.
fn three(list: &Value) -> Option<[f32; 3]> {
    let numbers: Vec<f32> = list.as_array()?.iter().filter_map(|v| v.as_f64().map(|v| v as f32)).collect();
    numbers.try_into().ok()
}

/// The normalisation that is usual for weights in a file with timm's names, and whose they seem to be: timm's own weights,
/// which are Google's, have a mean and a deviation of 0.5; DeiT, MAE, MoCo-v3 and DINO have those of ImageNet, and are told
/// by the key or the prefix under which their tensors stand, by what stands beside them, or by having no classifier.
fn usual(file: &Checkpoint) -> (Normalisation, &'static str) {
    let has = |name: &str| file.entries().contains_key(name);
    let imagenet = match file.key() {
        _ if is_moco(file) => "MoCo-v3's",
        Some("teacher") => "DINO's",
        _ if has("blocks.0.ls1.gamma") => "DINOv2's",
        _ if has("decoder_pos_embed") || has("fc_norm.weight") => MAE,
        Some("model") if has("head.weight") => "DeiT's",
        Some("model") => MAE,
        _ if !has("head.weight") => "DINO's",
        _ => return (Normalisation::HALF, "timm's own"),
    };
    (Normalisation::IMAGENET, imagenet)
}

/// Whether a file is one of MoCo-v3, by what stood before the names of its tensors.
fn is_moco(file: &Checkpoint) -> bool {
    file.prefix().ends_with("_encoder.") || (file.prefix() == "module." && file.key() == Some("state_dict"))
}

/// The sizes of a file, of which `config` has what its shapes tell and `usual_heads` the heads that are usual for its width;
/// and what is told about where the rest comes from.
///
/// # Errors
/// Those of [`Facts::beside`], metadata that cannot be read, and a width that has no usual number of heads.
pub(super) fn complete(
    (config, usual_heads): (VitConfig, Option<usize>),
    file: &Checkpoint,
    reading: &Reading,
) -> Result<(VitConfig, Vec<String>)> {
    let normalisation = reading.normalise.map(|n| n.values());
    let given = Facts { heads: reading.heads, eps: None, normalisation, pool: reading.pool };
    let known = given.or(Facts::of_metadata(file)?).or(Facts::beside(file.path())?);
    let usual_heads = match is_moco(file) && config.embed_dim == MOCO_SMALL.0 {
        true => Some(MOCO_SMALL.1),
        false => usual_heads,
    };
    let Some(heads) = known.heads.or(usual_heads) else {
        let what = format!("does not say how many heads its {} channels are divided into", config.embed_dim);
        return Err(Error::path(file.path(), what, "give --heads"));
    };
    let (normalisation, kind) = match known.normalisation {
        Some(normalisation) => (normalisation, None),
        None => (usual(file).0, Some(usual(file).1)),
    };
    let [mean, std] = [normalisation.mean, normalisation.std].map(|of| match of {
        [r, g, b] if r == g && g == b => r.to_string(),
        [r, g, b] => format!("{r}/{g}/{b}"),
    });
    let from = kind.map_or(String::new(), |kind| {
        format!(", as these seem to be {kind} weights (--normalise imagenet or half says otherwise)")
    });
    let mut notes = vec![format!("images are normalised by mean {mean} and deviation {std}{from}")];
    // MAE's encoders alone are pooled as they are fine-tuned, though they have no norm for it yet.
    let encoder = usual(file).1 == MAE && !file.entries().contains_key("head.weight");
    let pool = known.pool.unwrap_or(if encoder { Pool::Mae } else { config.pool });
    if pool != Pool::Class {
        let by = match pool {
            Pool::Mae if !file.entries().contains_key("fc_norm.weight") => "a new norm",
            _ => "a norm",
        };
        notes.push(format!(
            "the head reads {by} of the mean of all rows but the class token's (--pool class for that row)"
        ));
    }
    Ok((VitConfig { heads, eps: known.eps.unwrap_or(EPS), normalisation, pool, ..config }, notes))
}

/// What a file must say beside the tensors of such a ViT, as text by key.
pub(super) fn written(config: &VitConfig) -> Metadata {
    let VitConfig { heads, eps, normalisation, pool, .. } = *config;
    let (heads, eps, normalisation, pool) = (Some(heads), Some(eps), Some(normalisation), Some(pool));
    Facts { heads, eps, normalisation, pool }.metadata()
}
