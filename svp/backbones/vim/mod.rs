//! The Vim backbone (Zhu et al. 2024; `hustvl/Vim`), with the bidirectional "v2" mixer and the class token in the
//! middle (`docs/methods.md`, "Vim").
//!
//! `config` has the sizes, `weights` the parameters' names and places, `network` the forward pass, `init` the initial
//! values, `load` reads a checkpoint.

mod config;
mod init;
mod load;
mod network;
mod weights;

use crate::Result;
use crate::backbones::family::{Family, Sizes, shapes};
use crate::checkpoint::Checkpoint;
use crate::pass::Spec;

pub use config::{NAME, VimConfig};
pub use network::Vim;

/// The family's entry in the registry.
pub static FAMILY: Family = Family {
    name: NAME,
    title: "Vim",
    marks: "cls_token, pos_embed on a square grid, patch_embed or layers.0",
    wanted: "a Vim with a middle class token",
    recognises: |shapes| VimConfig::of_shapes(shapes, None).is_some(),
    translated: |_| Ok(None),
    spec,
    load: load::load,
    sizes: config::NAMES,
    named: |name, sizes| Ok(init::sized(name, sizes)?.spec()),
    from_scratch: init::from_scratch,
};

fn spec(file: &Checkpoint, sizes: &Sizes) -> Result<Spec> {
    sizes.reading.refuse(FAMILY.title)?;
    Ok(VimConfig::of_shapes(&shapes(file), sizes.stride).expect("recognised as a Vim before").spec())
}
