//! The zip form of PyTorch 1.6 and later: `NAME/data.pkl` and one member `NAME/data/KEY` for each storage.

use std::collections::HashMap;

use super::state_dict::{Dict, model_entries};
use crate::checkpoint::choice::Weights;
use crate::checkpoint::entry::Bytes;
use crate::checkpoint::fault::Fault;
use crate::checkpoint::members::Members;
use data::pickle::Pickle;

pub(in crate::checkpoint) fn read(members: Members, wanted: Option<Weights>) -> Result<Dict, Fault> {
    let mut archive = Archive::open(members)?;
    let pickled = archive.member("data.pkl")?;
    let pickle = Pickle::read(pickled.as_slice(), 0).map_err(|e| Fault::from(e).at("data.pkl"))?;
    if archive.has("byteorder") && archive.member("byteorder")?.as_slice() != b"little" {
        return Err(Fault::new("was written on a big-endian machine", "save it on a little-endian one"));
    }
    let mut storages = HashMap::new();
    model_entries(&pickle, wanted, |storage| {
        if let Some(bytes) = storages.get(storage.key) {
            return Ok(Bytes::clone(bytes));
        }
        let bytes = archive.member(&format!("data/{}", storage.key))?;
        if bytes.as_slice().len() < storage.len()? {
            let (have, want) = (bytes.as_slice().len(), storage.len()?);
            return Err(Fault::damaged(format!("storage {} has {have} of {want} bytes", storage.key)));
        }
        storages.insert(storage.key, bytes.clone());
        Ok(bytes)
    })
}

struct Archive<'m> {
    members: Members<'m>,
    /// Folder in the archive that holds everything, with its slash.
    root: String,
}

impl<'m> Archive<'m> {
    fn open(members: Members<'m>) -> Result<Self, Fault> {
        let roots = members.names().filter_map(|name| name.strip_suffix("data.pkl"));
        let root = roots.filter(|root| root.is_empty() || root.ends_with('/')).min_by_key(|root| root.len());
        let root = root.ok_or_else(|| {
            Fault::new(
                "is a zip archive without data.pkl or .npy",
                "give a checkpoint written by torch.save, or a .npz",
            )
        })?;
        let root = root.to_owned();
        Ok(Archive { members, root })
    }

    fn has(&self, name: &str) -> bool {
        self.members.has(&format!("{}{name}", self.root))
    }

    fn member(&mut self, name: &str) -> Result<Bytes, Fault> {
        self.members.read(&format!("{}{name}", self.root))
    }
}
