//! The backbones: one folder for each family, and one line in [`FAMILIES`].
//!
//! `docs/adding-a-backbone.md` says what a new family needs.

pub mod drop_path;
mod family;
mod filling;
pub mod pos_embed;
pub mod vim;
pub mod vit;
mod wrapped;

use crate::checkpoint::Checkpoint;
use crate::pass::Spec;
use crate::{Error, Result};

pub use family::{Backbone, Family, LoadOptions, Loaded, Normalise, Pool, Reading, Shapes, Sizes, shapes};
pub use wrapped::unwrapped;

/// All families. A checkpoint belongs to the first one that recognises it.
pub static FAMILIES: [&Family; 2] = [&vim::FAMILY, &vit::FAMILY];

/// The name for people of a backbone's family.
pub fn title(spec: &Spec) -> &'static str {
    FAMILIES.iter().find(|family| family.name == spec.family).map_or(spec.family, |family| family.title)
}

/// The first family that recognises a checkpoint with tensors of these names and shapes.
fn family_of(shapes: &Shapes) -> Option<&'static Family> {
    FAMILIES.into_iter().find(|family| (family.recognises)(shapes))
}

/// Loads the backbone of a checkpoint, whose family is recognised by its tensors, [`unwrapped`] where need be.
///
/// A checkpoint of no known family, or tensors that are missing, unexpected or of another shape.
pub fn load(file: &Checkpoint, options: LoadOptions) -> Result<Loaded> {
    let file = &*unwrapped(file)?;
    match family_of(&shapes(file)) {
        Some(family) => {
            let mut loaded = (family.load)(file, &options)?;
            loaded.notes.splice(0..0, file.notes().iter().cloned());
            Ok(loaded)
        }
        None => Err(unknown(file)),
    }
}

/// The sizes of the backbone of a checkpoint, of which no value is read. `sizes` replaces the image size, and the stride
/// where the shapes do not tell.
///
/// # Errors
/// A checkpoint of no known family, and a size of 0.
pub fn spec(file: &Checkpoint, sizes: &Sizes) -> Result<Spec> {
    if sizes.stride == Some(0) || sizes.img_size == Some(0) {
        return Err(Error::input(
            "model",
            "img-size and stride cannot be 0",
            "leave them out, or give pixels",
        ));
    }
    let file = &*unwrapped(file)?;
    let family = family_of(&shapes(file)).ok_or_else(|| unknown(file))?;
    let spec = (family.spec)(file, sizes)?;
    Ok(Spec { img_size: sizes.img_size.unwrap_or(spec.img_size), ..spec })
}

/// The error about a checkpoint of no known family.
fn unknown(file: &Checkpoint) -> Error {
    let join = |of: fn(&Family) -> String, between| FAMILIES.map(of).join(between);
    let what = join(|f| format!("is not a {} checkpoint ({} is missing)", f.title, f.marks), ", and ");
    let wanted = join(|f| f.wanted.into(), ", or ");
    Error::path(file.path(), what, format!("give {wanted}, saved as .pth, .safetensors or .npz"))
}

/// The sizes of a backbone of a named size.
///
/// # Errors
/// A name that no family knows, or sizes that no model can have.
pub fn named(name: &str, sizes: &Sizes) -> Result<Spec> {
    (family_of_size(name).named)(name, sizes)
}

/// Makes a backbone of a named size with initial values.
///
/// A name that no family knows, or sizes that no model can have.
pub fn from_scratch(name: &str, sizes: &Sizes, seed: u64) -> Result<Loaded> {
    (family_of_size(name).from_scratch)(name, sizes, seed)
}

/// The family with whose name the name of a size begins.
fn family_of_size(name: &str) -> &'static Family {
    FAMILIES.iter().find(|family| name.starts_with(family.name)).unwrap_or(&FAMILIES[0])
}
