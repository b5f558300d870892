//! The ViT backbone (Dosovitskiy et al., ICLR 2021), as timm's `VisionTransformer` computes it, with the class token in the
//! first row (`docs/methods.md`, "ViT").
//!
//! `config` has the sizes, `weights` the parameters' names and places, `network` the forward pass, `init` the initial
//! values, `load` reads a checkpoint, `layouts` other names of the same weights, `facts` what the tensors do not tell.

mod config;
mod facts;
mod init;
mod layouts;
mod load;
mod network;
#[cfg(test)]
mod tests;
mod weights;

use crate::Result;
use crate::backbones::family::{Family, Sizes};
use crate::checkpoint::Checkpoint;
use crate::pass::Spec;

pub use config::{NAME, VitConfig};
pub use network::Vit;

/// The family's entry in the registry.
pub static FAMILY: Family = Family {
    name: NAME,
    title: "ViT",
    marks: "cls_token, pos_embed on a square grid, patch_embed or blocks.0",
    wanted: "a ViT with a class token",
    recognises: |shapes| VitConfig::of_shapes(shapes, None).is_some(),
    translated: layouts::translated,
    spec,
    load: load::load,
    sizes: config::NAMES,
    named: |name, sizes| Ok(init::sized(name, sizes)?.spec()),
    from_scratch: init::from_scratch,
};

fn spec(file: &Checkpoint, sizes: &Sizes) -> Result<Spec> {
    Ok(load::stored(file, sizes.stride, &sizes.reading)?.0.spec())
}
