//! The form before PyTorch 1.6: five pickles (magic number, protocol version, facts about the machine, the object, the
//! keys of the storages). Then follow, for each key, the number of elements (u64) and the elements.

use std::collections::HashMap;
use std::sync::Arc;

use data::mapped::Mmap;

use super::state_dict::{Dict, StorageRef, is_module, model_entries, storage_ref};
use crate::checkpoint::choice::Weights;
use crate::checkpoint::entry::Bytes;
use crate::checkpoint::fault::Fault;
use data::pickle::{Node, Pickle, Value};

/// The number 0x1950a86a20f9469cfc6c, as the opcode `LONG1` writes it.
const MAGIC: Value = Value::Long(&[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]);
const VERSION: Value = Value::Int(1001);

pub(in crate::checkpoint) fn read(map: &Arc<Mmap>, wanted: Option<Weights>) -> Result<Dict, Fault> {
    let magic = Pickle::read(map, 0)?;
    if magic.root() != MAGIC {
        return Err(Fault::new("is a pickle, but not one of torch.save", "give a .pth or .safetensors file"));
    }
    let version = Pickle::read(map, magic.end())?;
    if version.root() != VERSION {
        return Err(Fault::new("has an unknown torch protocol version", "save it again with PyTorch 1 or 2"));
    }
    let machine = Pickle::read(map, version.end())?;
    if machine.get(machine.root(), "little_endian") == Some(Value::Bool(false)) {
        return Err(Fault::new("was written on a big-endian machine", "save it on a little-endian one"));
    }
    let object = Pickle::read(map, machine.end())?;
    let keys = Pickle::read(map, object.end())?;
    let storages = locate(map, &object, &keys)?;
    model_entries(&object, wanted, |storage| {
        let found = storages.get(storage.key).filter(|(known, _)| known.dtype == storage.dtype);
        let (_, bytes) =
            found.ok_or_else(|| Fault::damaged(format!("storage {} is not there", storage.key)))?;
        Ok(bytes.clone())
    })
}

/// Finds where each storage lies. Sizes come from the persistent ids, also of storages that the model does not use.
fn locate<'a>(
    map: &Arc<Mmap>,
    object: &Pickle<'a>,
    keys: &Pickle<'a>,
) -> Result<HashMap<&'a str, (StorageRef<'a>, Bytes)>, Fault> {
    let mut known = HashMap::new();
    for node in object.nodes() {
        if let &Node::Persistent(id) = node
            && !is_module(object, id)
        {
            let storage = storage_ref(object, id)?;
            known.insert(storage.key, storage);
        }
    }
    let keys_in_order = keys.items(keys.root()).ok_or_else(|| Fault::damaged("has no list of storages"))?;
    let mut at = keys.end();
    let mut located = HashMap::with_capacity(known.len());
    for key in keys_in_order {
        let storage = key.text().and_then(|key| known.get(key)).copied();
        let storage = storage.ok_or_else(|| Fault::damaged("lists a storage that nothing uses"))?;
        let count = Bytes::part(map, at, 8)?;
        let data = Bytes::part(map, at + 8, storage.len()?)?;
        if count.as_slice() != (storage.elements as u64).to_le_bytes() {
            return Err(Fault::damaged(format!("storage {} contradicts itself about its size", storage.key)));
        }
        at += 8 + storage.len()?;
        located.insert(storage.key, (storage, data));
    }
    Ok(located)
}
