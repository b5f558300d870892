//! The interface of a family of backbones, and how a backbone is loaded.

use std::collections::BTreeMap;

use autograd::Var;
use engine::Tensor;

use super::pos_embed::ClassRow;
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::data::Seen;
use crate::params::Params;
use crate::pass::{Method, Pass, Spec, Tokens};

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
    /// The sizes of a checkpoint with tensors of these names and shapes, at this stride where the shapes do not tell;
    /// `None` where it is not of the family.
    pub spec: fn(&Shapes, Option<usize>) -> Option<Spec>,
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

/// The shapes of a checkpoint's tensors.
pub fn shapes(file: &Checkpoint) -> Shapes<'_> {
    file.entries().iter().map(|(name, entry)| (name.as_str(), entry.shape())).collect()
}
