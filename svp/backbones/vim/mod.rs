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

use crate::backbones::family::Family;

pub use config::{NAME, VimConfig};
pub use network::Vim;

/// The family's entry in the registry.
pub static FAMILY: Family = Family {
    name: NAME,
    title: "Vim",
    marks: "cls_token, pos_embed on a square grid, patch_embed or layers.0",
    wanted: "a Vim with a middle class token",
    spec: |shapes, stride| VimConfig::of_shapes(shapes, stride).map(|config| config.spec()),
    load: load::load,
    sizes: config::NAMES,
    named: |name, sizes| Ok(init::sized(name, sizes)?.spec()),
    from_scratch: init::from_scratch,
};
