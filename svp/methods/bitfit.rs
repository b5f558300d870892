//! BitFit (Zaken et al., ACL 2022): trains the biases of the backbone, and the head.
//!
//! Every tensor with `bias` in its name is trained. In a Vim these are the biases of the patch embedding and, in each
//! block, of the two causal convolutions and the two step-size projections; its norms and other products have none. In a
//! ViT every norm and product has one.

use super::entry::{Defaults, Entry};
use crate::Result;
use crate::backbones::{vim, vit};
use crate::params::Params;
use crate::pass::Method;

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "bitfit",
    title: "BitFit",
    about: "The biases of an otherwise frozen backbone",
    trains: "every bias of the backbone, and the head",
    source: "BitFit, ACL 2022",
    backbones: &[vim::NAME, vit::NAME],
    defaults: |spec, _| Defaults::adamw(5e-3, 1e-4).narrow(spec, 0.12),
    views: &[("trained", true)],
    ..Entry::plain(|_, _| Ok(Box::new(BitFit)))
};

struct BitFit;

impl Method for BitFit {
    fn trains(&self, tensor: &str) -> bool {
        tensor.contains("bias")
    }

    /// The trained tensors are the backbone's own.
    fn merge(&self, _params: &mut Params) -> Result<()> {
        Ok(())
    }
}
