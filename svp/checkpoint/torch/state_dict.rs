//! Checkpoints written by `torch.save`: finds the dict of the model and reads its tensors.
//!
//! A tensor is pickled as `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, ...)`, a storage
//! as a persistent id `("storage", <type>, key, device, elements)`. The two containers
//! differ only in where the bytes of a storage lie.
//!
//! Source: `torch/serialization.py` and `torch/_utils.py` of PyTorch 2.

use std::collections::BTreeMap;

use crate::checkpoint::choice::{STUDENT, TEACHER, Weights};
use crate::checkpoint::entry::{Bytes, Dtype, Entries, Entry};
use crate::checkpoint::fault::Fault;
use data::pickle::{Node, Pickle, Value};

/// What a persistent id begins with that stands for a class and its source, and not for a storage.
const MODULE: &str = "module";

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

/// The dict of tensors that was taken from a file.
pub(in crate::checkpoint) struct Dict {
    /// Its tensors.
    pub entries: Entries,
    /// The key under which it stood; `None` for the file itself.
    pub key: Option<&'static str>,
    /// What else there was to take.
    pub note: Option<String>,
}

/// The tensors of the model's dict, or of its moving average's, and a note where the file has a moving average. Whatever
/// lies beside them is not looked at.
pub(super) fn model_entries<'a>(
    pickle: &Pickle<'a>,
    wanted: Option<Weights>,
    mut open: impl FnMut(StorageRef<'a>) -> Result<Bytes, Fault>,
) -> Result<Dict, Fault> {
    let Chosen { dict, key, note } = model_dict(pickle, wanted)?;
    let mut entries = BTreeMap::new();
    for (name, value) in pickle.pairs(dict).into_iter().flatten() {
        let Some(name) = name.text() else { continue };
        let at = |fault: Fault| fault.at(&format!("tensor {name}"));
        if let Some(args) = tensor_args(pickle, value) {
            entries.insert(name.to_owned(), entry(pickle, args, &mut open).map_err(at)?);
        } else if let Some((module, class, _)) = pickle.object(value).filter(|o| o.0.starts_with("torch")) {
            return Err(at(Fault::new(format!("is a {module}.{class}"), "save it as a plain dense tensor")));
        }
    }
    Ok(Dict { entries, key, note })
}

/// A dict of a file, the key under which it stands, and a note.
struct Chosen<'a> {
    dict: Value<'a>,
    key: Option<&'static str>,
    note: Option<String>,
}

/// The dict of tensors that is wanted: the model's, or else the file itself, or else that of a moving average.
fn model_dict<'a>(pickle: &Pickle<'a>, wanted: Option<Weights>) -> Result<Chosen<'a>, Fault> {
    let root = pickle.root();
    let tensors_in = |value: Value<'a>| {
        let pairs = pickle.pairs(value).unwrap_or_default();
        pairs.iter().filter(|&&(_, value)| tensor_args(pickle, value).is_some()).count()
    };
    let under = |weights: Weights| {
        let named =
            |&key: &&'static str| Some((key, pickle.get(root, key).filter(|&value| tensors_in(value) > 0)?));
        weights.keys().iter().find_map(named)
    };
    let average = under(Weights::Ema);
    let model = under(Weights::Model).map(|(key, dict)| (Some(key), dict));
    // A stray tensor or two beside a moving average are no model.
    let at_top = tensors_in(root) > average.map_or(0, |(_, dict)| tensors_in(dict) / 2);
    let model = model.or_else(|| at_top.then_some((None, root)));
    let place = |key: Option<&str>| key.map_or("the top".to_string(), |key| format!("`{key}`"));
    let choose = "leave out --weights";
    match (model, average, wanted) {
        (Some((key, dict)), None, None | Some(Weights::Model)) => {
            // A student and its teacher, as DINO writes them; the released backbones are the teachers.
            let taught = key == Some(TEACHER) && pickle.get(root, STUDENT).is_some();
            let note =
                taught.then(|| format!("weights: those under `{TEACHER}`, not those under `{STUDENT}`"));
            Ok(Chosen { dict, key, note })
        }
        (Some((key, dict)), Some((ema, _)), None | Some(Weights::Model)) => {
            let at = place(key);
            let note = format!("weights: those under {at}; `{ema}` has their moving average (--weights ema)");
            Ok(Chosen { dict, key, note: Some(note) })
        }
        (Some((key, _)), Some((ema, dict)), Some(Weights::Ema)) => {
            let note = format!("weights: the moving average under `{ema}`, not those under {}", place(key));
            Ok(Chosen { dict, key: Some(ema), note: Some(note) })
        }
        (None, Some((ema, dict)), None | Some(Weights::Ema)) => {
            let note = format!("weights: the moving average under `{ema}`, because no others are there");
            Ok(Chosen { dict, key: Some(ema), note: Some(note) })
        }
        (Some((key, _)), None, Some(Weights::Ema)) => {
            let (at, keys) = (place(key), Weights::Ema.keys().join(", "));
            Err(Fault::new(format!("holds weights under {at}, but no moving average under {keys}"), choose))
        }
        (None, Some((ema, _)), Some(Weights::Model)) => {
            Err(Fault::new(format!("holds only a moving average of weights, under `{ema}`"), choose))
        }
        (None, None, _) => Err(no_weights(pickle)),
    }
}

/// What a file without a dict of tensors holds instead.
fn no_weights(pickle: &Pickle) -> Fault {
    let keys = || [Weights::Model, Weights::Ema].into_iter().flat_map(Weights::keys);
    let candidates = keys().filter_map(|key| pickle.get(pickle.root(), key)).chain([pickle.root()]);
    match candidates.filter_map(|value| class(pickle, value)).next() {
        Some((module, class)) if (module, class) != ("collections", "OrderedDict") => Fault::new(
            format!("holds a whole pickled {module}.{class}, not its weights"),
            "in Python, save model.state_dict() instead",
        ),
        _ => Fault::new(
            format!(
                "holds no weights under {} or at the top",
                keys().copied().collect::<Vec<_>>().join(", ")
            ),
            "save a dict with the state dict under `model`",
        ),
    }
}

/// Module and name of the class of an object.
fn class<'a>(pickle: &Pickle<'a>, value: Value<'a>) -> Option<(&'a str, &'a str)> {
    let Some(Node::Object(object)) = pickle.node(value) else { return None };
    match pickle.node(object.class)? {
        // The form before zip archives hands the class of a module over together with its source.
        &Node::Persistent(id) => match pickle.items(id)? {
            &[_, class, ..] if is_module(pickle, id) => pickle.global(class),
            _ => None,
        },
        _ => pickle.global(object.class),
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

/// Whether a persistent id stands for a class and its source.
pub(super) fn is_module(pickle: &Pickle, id: Value) -> bool {
    pickle.items(id).and_then(|items| items.first()?.text()) == Some(MODULE)
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
