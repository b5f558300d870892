//! A backbone with the head it was trained with, and nothing of ours.

use std::path::Path;

use engine::Device;

use super::setup::{BUILTIN_BACKBONE, open_backbone};
use crate::backbones::{LoadOptions, Loaded, load};
use crate::heads::HeadKind;
use crate::methods::{Chosen, linear};
use crate::model::{Model, Parts};
use crate::{Error, Result};

/// Loads the backbone at `backbone`, or the built-in one, with its own head, as it was trained; beside it facts for the log,
/// a line each.
///
/// # Errors
/// A checkpoint that cannot be read, is of no known family, or has no head of one map.
pub fn untouched(backbone: Option<&Path>, device: &Device) -> Result<(Model, Vec<String>)> {
    let Loaded { backbone: network, params, head, notes, .. } =
        load(&open_backbone(backbone, None)?, LoadOptions::default())?;
    let Some([_, bias]) = &head else {
        let place = backbone.unwrap_or(Path::new(BUILTIN_BACKBONE));
        let what = "has no head of its own (head.weight and head.bias)";
        return Err(Error::path(place, what, "give a checkpoint as it was trained, with its head"));
    };
    // The method changes nothing of the backbone, and the head takes all logits.
    let parts = Parts::new(Chosen::named(linear::ENTRY.name)?, bias.numel());
    let parts = Parts { head: HeadKind::named("first-k")?, source_head: head, ..parts };
    Ok((Model::new(device, network, params, parts, 0)?, notes))
}
