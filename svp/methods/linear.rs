//! Linear probing: trains the head alone, on features of the frozen backbone that are computed once.

use super::entry::{Defaults, Entry};
use crate::Result;
use crate::backbones::{vim, vit};
use crate::params::Params;
use crate::pass::Method;

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "linear",
    title: "linear probe",
    about: "A linear probe on a frozen backbone",
    trains: "the head, on features that are computed once",
    source: "",
    backbones: &[vim::NAME, vit::NAME],
    defaults: |spec, _| Defaults::adamw(2e-2, 1e-4).narrow(spec, 8e-2),
    keeps_features: true,
    views: &[("frozen", false)],
    ..Entry::plain(|_, _| Ok(Box::new(Frozen)))
};

/// The method that leaves the backbone unchanged.
pub struct Frozen;

impl Method for Frozen {
    /// The backbone stays what it was.
    fn merge(&self, _params: &mut Params) -> Result<()> {
        Ok(())
    }
}
