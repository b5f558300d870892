//! Vision Mamba, its prompts and its head, under the published state-dict names.

mod classifier;
mod config;
mod gates;
mod head;
mod load;
mod params;
mod prompt;
mod vim;

pub use classifier::{Classifier, Parts};
pub use config::VimConfig;
pub use gates::{Gate, Gates};
pub use head::{Head, HeadKind};
pub use load::{LoadOptions, LoadedVim, load};
pub use params::{Bound, ParamId, Params};
pub use prompt::{LayerScales, Prompts, SvpConfig, Variant};
pub use vim::{DropPath, Observer, Vim};
