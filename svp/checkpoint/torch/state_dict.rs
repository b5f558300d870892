//! Checkpoints written by `torch.save`: finds the dict of the model and reads its tensors.
//!
//! A tensor is pickled as `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, ...)`, a storage
//! as a persistent id `("storage", <type>, key, device, elements)`. The two containers
//! differ only in where the bytes of a storage lie.
//!
//! Source: `torch/serialization.py` and `torch/_utils.py` of PyTorch 2.

use std::collections::BTreeMap;

use crate::checkpoint::entry::{Bytes, Dtype, Entries, Entry};
use crate::checkpoint::fault::Fault;
use data::pickle::{Node, Pickle, Value};

/// Keys under which a checkpoint may keep its weights, tried in this order. Without any of them the file itself is the
/// dict.
const MODEL_KEYS: [&str; 3] = ["model", "state_dict", "model_state_dict"];
/// Prefix that `DataParallel` puts before every name.
const PARALLEL_PREFIX: &str = "module.";

/// A storage as the pickle names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageRef<'a> {
    pub key: &'a str,
    pub dtype: Dtype,
    pub elements: usize,
}

impl StorageRef<'_> {
    /// Size in bytes.
    pub fn len(&self) -> Result<usize, Fault> {
        let len = self.elements.checked_mul(self.dtype.size());
        len.ok_or_else(|| Fault::damaged(format!("storage {} has {} elements", self.key, self.elements)))
    }
}

/// The tensors of the model dict; whatever lies beside it is not looked at.
pub(super) fn model_entries<'a>(
    pickle: &Pickle<'a>,
    mut open: impl FnMut(StorageRef<'a>) -> Result<Bytes, Fault>,
) -> Result<Entries, Fault> {
    let mut entries = BTreeMap::new();
    for (name, value) in model_dict(pickle)? {
        let Some(name) = name.text() else { continue };
        let at = |fault: Fault| fault.at(&format!("tensor {name}"));
        if let Some(args) = tensor_args(pickle, value) {
            entries.insert(name.to_owned(), entry(pickle, args, &mut open).map_err(at)?);
        } else if let Some((module, class, _)) = pickle.object(value).filter(|o| o.0.starts_with("torch")) {
            return Err(at(Fault::new(format!("is a {module}.{class}"), "save it as a plain dense tensor")));
        }
    }
    if entries.keys().all(|name| name.starts_with(PARALLEL_PREFIX)) {
        entries = entries.into_iter().map(|(k, v)| (k[PARALLEL_PREFIX.len()..].to_owned(), v)).collect();
    }
    Ok(entries)
}

type Pairs<'a> = Vec<(Value<'a>, Value<'a>)>;

fn model_dict<'a>(pickle: &Pickle<'a>) -> Result<Pairs<'a>, Fault> {
    let root = pickle.root();
    let named = MODEL_KEYS.iter().filter_map(|key| pickle.get(root, key));
    let candidates: Vec<_> = named.chain([root]).collect();
    let holds_tensors = |pairs: &Pairs<'a>| pairs.iter().any(|&(_, v)| tensor_args(pickle, v).is_some());
    if let Some(model) = candidates.iter().filter_map(|&v| pickle.pairs(v)).find(holds_tensors) {
        return Ok(model);
    }
    match candidates.iter().find_map(|&v| pickle.object(v)) {
        Some((module, class, _)) if (module, class) != ("collections", "OrderedDict") => Err(Fault::new(
            format!("holds a whole pickled {module}.{class}, not its weights"),
            "save model.state_dict() instead",
        )),
        _ => Err(Fault::new(
            format!("holds no weights under {} or at the top", MODEL_KEYS.join(", ")),
            "save a dict with the state dict under `model`",
        )),
    }
}

/// The arguments of the call that rebuilds a tensor, also where a parameter wraps it.
fn tensor_args<'p, 'a>(pickle: &'p Pickle<'a>, value: Value<'a>) -> Option<&'p [Value<'a>]> {
    let (module, class, object) = pickle.object(value)?;
    let args = pickle.items(object.args)?;
    match (module, class) {
        ("torch._utils", "_rebuild_tensor_v2") => Some(args),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            let (module, class, tensor) = pickle.object(*args.first()?)?;
            let tensor_args = pickle.items(tensor.args)?;
            ((module, class) == ("torch._utils", "_rebuild_tensor_v2")).then_some(tensor_args)
        }
        _ => None,
    }
}

fn entry<'a>(
    pickle: &Pickle<'a>,
    args: &[Value<'a>],
    open: &mut impl FnMut(StorageRef<'a>) -> Result<Bytes, Fault>,
) -> Result<Entry, Fault> {
    let &[storage, offset, shape, strides, ..] = args else {
        return Err(Fault::damaged("has too few arguments"));
    };
    let Some(&Node::Persistent(id)) = pickle.node(storage) else {
        return Err(Fault::damaged("has no storage"));
    };
    let storage = storage_ref(pickle, id)?;
    let sizes = |v| pickle.items(v)?.iter().map(|d| d.size()).collect::<Option<Vec<_>>>();
    match (offset.size(), sizes(shape), sizes(strides)) {
        (Some(offset), Some(shape), Some(strides)) => {
            Entry::strided(storage.dtype, shape, strides, offset, open(storage)?)
        }
        _ => Err(Fault::damaged("has an offset, shape or strides that are no sizes")),
    }
}

/// Reads `("storage", <type>, key, device, elements, ...)`.
pub(super) fn storage_ref<'a>(pickle: &Pickle<'a>, id: Value<'a>) -> Result<StorageRef<'a>, Fault> {
    let malformed = || Fault::damaged("has a malformed storage");
    let Some(&[tag, class, key, _device, elements, ref view @ ..]) = pickle.items(id) else {
        return Err(malformed());
    };
    let (Some("storage"), Some(key), Some(elements)) = (tag.text(), key.text(), elements.size()) else {
        return Err(malformed());
    };
    if view.iter().any(|&v| v != Value::None) {
        return Err(Fault::new("is a view of a view of PyTorch 0.x", "save it again with a newer PyTorch"));
    }
    let (module, class) = pickle.global(class).ok_or_else(malformed)?;
    let dtype = storage_dtype(class).ok_or_else(|| {
        Fault::new(format!("has storage type {module}.{class}"), "save it as float32, float16 or bfloat16")
    })?;
    Ok(StorageRef { key, dtype, elements })
}

fn storage_dtype(class: &str) -> Option<Dtype> {
    Some(match class {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        _ => return None,
    })
}
