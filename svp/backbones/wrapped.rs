//! Takes off what programs put before the names of a model's tensors.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{FAMILIES, Shapes, family_of, shapes};
use crate::checkpoint::Checkpoint;
use crate::{Error, Result};

/// What stands before the names where one module wraps another: `module` of DataParallel, `_orig_mod` of torch.compile,
/// `model` of Lightning, and what programs call a network in their own modules.
const WRAPPERS: [&str; 11] = [
    "module",
    "_orig_mod",
    "model",
    "net",
    "network",
    "backbone",
    "encoder",
    "vim",
    "vit",
    "base_encoder",
    MOMENTUM,
];
/// MoCo-v3's moving average of its `base_encoder`, which is taken where it stands alone.
const MOMENTUM: &str = "momentum_encoder";
/// The most wrappers around one another.
const DEPTH: usize = 4;

/// The checkpoint under names that a family recognises: as it is where it is recognised, or of no family; in the names of
/// its family where its layout is another one that is known; otherwise without the prefix under which its tensors are
/// those of a backbone. Tensors that do not have the prefix, such as those of a loss, are left out; the checkpoint's notes
/// say so.
///
/// # Errors
/// A layout that is known with tensors that it does not have. Several such prefixes, because then the checkpoint holds
/// several models.
pub fn unwrapped(file: &Checkpoint) -> Result<Cow<'_, Checkpoint>> {
    if family_of(&shapes(file)).is_some() {
        return Ok(Cow::Borrowed(file));
    }
    for family in FAMILIES {
        if let Some(translated) = (family.translated)(file)? {
            return Ok(Cow::Owned(translated));
        }
    }
    let fits = |prefix: &&str| family_of(&shapes_under(file, prefix)).is_some();
    let mut fitting: Vec<&str> = prefixes(file).into_iter().filter(fits).collect();
    if fitting.len() > 1 {
        fitting.retain(|prefix| !prefix.contains(MOMENTUM));
    }
    match fitting[..] {
        [] => Ok(Cow::Borrowed(file)),
        [prefix] => Ok(Cow::Owned(file.under(prefix))),
        _ => {
            let what = format!("holds several models, under {}", fitting.join(", "));
            Err(Error::path(file.path(), what, "save the state dict of one of them in a file of its own"))
        }
    }
}

/// The prefixes that consist of wrappers, such as `module._orig_mod.`.
fn prefixes(file: &Checkpoint) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for name in file.entries().keys() {
        let mut end = 0;
        for part in name.split('.').take(DEPTH).take_while(|part| WRAPPERS.contains(part)) {
            end += part.len() + 1;
            found.extend(name.get(..end));
        }
    }
    found
}

fn shapes_under<'a>(file: &'a Checkpoint, prefix: &str) -> Shapes<'a> {
    let all = shapes(file).into_iter();
    all.filter_map(|(name, shape)| Some((name.strip_prefix(prefix)?, shape))).collect()
}
