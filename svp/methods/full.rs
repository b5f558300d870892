//! Full fine-tuning: trains every tensor of the backbone, and the head.

use super::entry::{Defaults, Entry};
use crate::Result;
use crate::backbones::{vim, vit};
use crate::params::Params;
use crate::pass::Method;

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "full",
    title: "full fine-tuning",
    about: "A whole backbone",
    trains: "everything; also from scratch",
    source: "",
    backbones: &[vim::NAME, vit::NAME],
    defaults: |spec, _| Defaults::adamw(1e-3, 0.05).narrow(spec, 1.2e-2),
    whole_backbone: true,
    views: &[("trained", false)],
    ..Entry::plain(|_, _| Ok(Box::new(Full)))
};

struct Full;

impl Method for Full {
    fn trains(&self, _tensor: &str) -> bool {
        true
    }

    /// The trained tensors are the backbone's own.
    fn merge(&self, _params: &mut Params) -> Result<()> {
        Ok(())
    }
}
