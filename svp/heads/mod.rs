//! The heads: one file each, and one line in the registry below.

mod classifier;
mod entry;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

pub use entry::{Assigning, Head, HeadEntry, Labels, Logits, Moved, Place};

/// Declares the modules of the heads, whose files `cargo fmt` does not follow, and the registry.
macro_rules! heads {
    ($($name:ident,)*) => {
        $(mod $name;)*

        /// All heads; the first one is the default.
        pub static HEADS: &[&HeadEntry] = &[$(&$name::ENTRY),*];
    };
}

heads! {
    linear,
    two_layer,
    batch_norm,
    first_k,
    source_map,
    source_means,
}

/// A head of the registry, compared and written by its name.
#[derive(Clone, Copy)]
pub struct HeadKind(pub &'static HeadEntry);

impl HeadKind {
    /// The head of this name.
    ///
    /// # Errors
    /// A name that is not in the registry.
    pub fn named(name: &str) -> Result<Self> {
        let known = HEADS.iter().find(|head| head.name == name);
        known.map(|head| HeadKind(head)).ok_or_else(|| {
            let names = HEADS.iter().map(|head| head.name).collect::<Vec<_>>().join(", ");
            Error::input("--head", format!("there is no head {name:?}"), format!("use one of {names}"))
        })
    }
}

impl Default for HeadKind {
    fn default() -> Self {
        HeadKind(HEADS[0])
    }
}

impl PartialEq for HeadKind {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl fmt::Debug for HeadKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl Serialize for HeadKind {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.serialize_str(self.0.name)
    }
}

impl<'de> Deserialize<'de> for HeadKind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        HeadKind::named(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
