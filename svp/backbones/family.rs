//! The interface of a family of backbones, and how a backbone is loaded.

use std::collections::BTreeMap;

use autograd::Var;
use engine::Tensor;

use serde::{Deserialize, Serialize};

use super::pos_embed::{ClassRow, Interpolation};
use crate::checkpoint::{Checkpoint, Metadata};
use crate::data::{Normalisation, Seen};
use crate::params::Params;
use crate::pass::{Method, Pass, Spec, Tokens};
use crate::{Error, Result};

/// A pre-trained network without its head.
pub trait Backbone: Send + Sync {
    /// Its sizes, and how its images are prepared.
    fn spec(&self) -> &Spec;

    /// Computes the normalised tokens of normalised images `[b 3 s s]`, adapted by `method`.
    ///
    /// # Errors
    /// Those of the method's hooks, and faults of the device.
    fn forward(&self, pass: &mut Pass, images: &Var, method: &dyn Method) -> Result<Tokens>;

    /// Whether a tensor, by its state-dict name, is the weight of a matrix product. Such a weight is kept in the type
    /// of the activations while it is frozen.
    fn is_product_weight(&self, tensor: &str) -> bool;

    /// What a file must say beside the tensors to make this backbone of them, as text by key.
    fn facts(&self) -> Metadata {
        Metadata::new()
    }

    /// Whether its blocks have scans, whose gates `svp-gates` can draw.
    fn has_gates(&self) -> bool {
        false
    }
}

/// A family of backbones, as the registry holds it.
pub struct Family {
    /// Name in trained files and in the entries of methods, such as `vim`.
    pub name: &'static str,
    /// Name for people, such as `Vim`.
    pub title: &'static str,
    /// Tensors that mark a checkpoint of the family, for the error about a checkpoint of no family.
    pub marks: &'static str,
    /// The kind of checkpoint that such an error asks for.
    pub wanted: &'static str,
    /// Whether tensors of these names and shapes are of the family.
    pub recognises: fn(&Shapes) -> bool,
    /// A checkpoint of the family in another layout, under the family's own names; `None` where it is in none that is
    /// known.
    pub translated: fn(&Checkpoint) -> Result<Option<Checkpoint>>,
    /// The sizes of a recognised checkpoint, with what replaces or completes them.
    pub spec: fn(&Checkpoint, &Sizes) -> Result<Spec>,
    /// Loads the backbone of a recognised checkpoint; values are those of the file in memory where they can be.
    pub load: fn(&Checkpoint, &LoadOptions) -> Result<Loaded>,
    /// Names of the sizes that `named` and `from_scratch` take, in a sentence.
    pub sizes: &'static str,
    /// The sizes of a backbone of a named size, without making it.
    pub named: fn(&str, &Sizes) -> Result<Spec>,
    /// Makes a backbone of a named size, with initial values drawn from a seed.
    pub from_scratch: fn(&str, &Sizes, u64) -> Result<Loaded>,
}

/// Shapes of tensors by their names.
pub type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// Options for reading a checkpoint. The default takes it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// Side of the new task's images in pixels. A side other than the checkpoint's resizes the position embedding.
    pub img_size: Option<usize>,
    /// Pixels between patches, where the shapes do not tell.
    pub stride: Option<usize>,
    /// Which row of the position embedding is taken for the class token's when it is resized.
    pub class_row: ClassRow,
    /// How it is resized; `None` for the way of the family's published programs.
    pub interpolation: Option<Interpolation>,
    /// What the tensors do not tell.
    pub reading: Reading,
    /// Load although keys are missing, unexpected or of another shape; missing ones get initial values.
    pub allow_mismatch: bool,
    /// Seed of those initial values.
    pub seed: u64,
}

/// Sizes that replace those of a named size; `None` keeps them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    /// Side of the input images, in pixels.
    pub img_size: Option<usize>,
    /// Side of a patch, in pixels.
    pub patch_size: Option<usize>,
    /// Pixels between patches.
    pub stride: Option<usize>,
    /// Channels of a token.
    pub embed_dim: Option<usize>,
    /// Number of blocks.
    pub depth: Option<usize>,
    /// What no shape tells.
    pub reading: Reading,
}

/// What the tensors of some families do not tell, where it is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Heads of the attention.
    pub heads: Option<usize>,
    /// Mean and deviation for normalising images.
    pub normalise: Option<Normalise>,
    /// What the head reads.
    pub pool: Option<Pool>,
}

impl Reading {
    /// Refuses what is given, for a family whose tensors tell all.
    ///
    /// # Errors
    /// Anything that is given.
    pub(super) fn refuse(&self, title: &str) -> Result<()> {
        let given = [
            ("--heads", self.heads.is_some()),
            ("--normalise", self.normalise.is_some()),
            ("--pool", self.pool.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => {
                Err(Error::input(flag, format!("a {title} leaves nothing of that open"), "leave it out"))
            }
        }
    }
}

/// What the head reads of the rows after the last block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The class token's row of the normalised rows.
    #[default]
    Class,
    /// The mean of all rows but the class token's, prompts included, by the norm of the rows.
    Mean,
    /// The same by a norm of its own, `fc_norm`, in place of that of the rows, as MAE is fine-tuned. Where a checkpoint has
    /// none it is a new one, as in VPT on MAE: scales of 1, shifts of 0.
    Mae,
}

/// A way to normalise images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// By the mean and the deviation of ImageNet.
    Imagenet,
    /// By one half for both.
    Half,
}

impl Normalise {
    /// Mean and deviation.
    pub fn values(self) -> Normalisation {
        match self {
            Normalise::Imagenet => Normalisation::IMAGENET,
            Normalise::Half => Normalisation::HALF,
        }
    }
}

/// A frozen backbone with its parameters.
pub struct Loaded {
    /// The network.
    pub backbone: Box<dyn Backbone>,
    /// Its parameters, all frozen.
    pub params: Params,
    /// The head with which it was trained, where the checkpoint has one of one map: weight `[k d]` and bias `[k]`.
    pub head: Option<[Tensor; 2]>,
    /// Hash of the weights as they are in the file, the same for every file format.
    pub hash: String,
    /// The files that the weights were read from.
    pub files: Vec<Seen>,
    /// Facts for the log, one line each.
    pub notes: Vec<String>,
}

/// The checkpoint's head, where it is one map of features `[width]`.
///
/// # Errors
/// Values that cannot be read.
pub(super) fn own_head(file: &Checkpoint, width: usize) -> Result<Option<[Tensor; 2]>> {
    let shape = |name: &str| file.entries().get(name).map(|entry| entry.shape().to_vec());
    let (Some(weight), Some(bias)) = (shape("head.weight"), shape("head.bias")) else { return Ok(None) };
    if bias.len() != 1 || weight != [bias[0], width] {
        return Ok(None);
    }
    Ok(Some([file.tensor("head.weight")?, file.tensor("head.bias")?]))
}

/// The shapes of a checkpoint's tensors.
pub fn shapes(file: &Checkpoint) -> Shapes<'_> {
    file.entries().iter().map(|(name, entry)| (name.as_str(), entry.shape())).collect()
}
