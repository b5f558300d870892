//! Settings of a run whose defaults depend on the backbone.

use std::path::Path;

use super::setup::open_backbone;
use crate::Result;
use crate::backbones::{self, Sizes};
use crate::checkpoint::Weights;
use crate::methods::Entry;
use crate::pass::Spec;

/// The sizes of the backbone that a run would train: that of a checkpoint, or a named size from scratch, or the built-in
/// one. No value is read or drawn.
///
/// # Errors
/// A checkpoint that cannot be read or is of no known family, or an unknown size.
pub fn backbone_spec(
    backbone: Option<&Path>,
    weights: Option<Weights>,
    model: Option<&str>,
    sizes: &Sizes,
) -> Result<Spec> {
    match model {
        Some(name) => backbones::named(name, sizes),
        None => backbones::spec(&open_backbone(backbone, weights)?, sizes),
    }
}

/// Defaults by backbone and method (`docs/manual.md`, "Defaults").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Passes over the training images.
    pub epochs: u32,
    /// Most epochs in which the rate rises; of fewer than 20 times as many, a twentieth.
    pub most_warmup_epochs: u32,
    /// Rate of stochastic depth at the last block.
    pub drop_path: f64,
    /// Smallest share of an image's area that a random crop keeps.
    pub crop_scale_min: f64,
}

impl Defaults {
    /// The defaults of the published program.
    pub const PUBLISHED: Defaults =
        Defaults { epochs: 100, most_warmup_epochs: 5, drop_path: 0.1, crop_scale_min: 0.08 };

    /// Those of a backbone as narrow as the built-in one, whose runs are short and need no regularisation.
    pub const NARROW: Defaults =
        Defaults { epochs: 20, most_warmup_epochs: 0, drop_path: 0.0, crop_scale_min: 0.4 };

    /// The defaults of a method on a backbone. Epochs over features that are kept cost next to nothing, so they are as
    /// many as published on every backbone.
    pub fn of(spec: &Spec, method: &Entry) -> Self {
        let all = if spec.is_narrow() { Self::NARROW } else { Self::PUBLISHED };
        match method.keeps_features {
            true => {
                let Defaults { epochs, most_warmup_epochs, .. } = Self::PUBLISHED;
                Defaults { epochs, most_warmup_epochs, ..all }
            }
            false => all,
        }
    }
}
