//! Reading and writing `.safetensors`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use data::mapped::Mmap;
use engine::{Tensor, budget};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

use super::entry::{Bytes, Dtype, Entries, Entry, Metadata};
use super::fault::Fault;
use super::precision::{Precision, in_order};
use super::write::write_atomically;
use crate::Result;

/// Bytes of the header's length field, and the multiple that the header is padded to.
const WORD: usize = 8;

/// Bytes that reading a byte of the header takes at most: the names and shapes of many tensors without values.
const PARSED: u64 = 16;

/// Reads the tensors and the metadata of a file in memory.
pub(super) fn read(map: &Arc<Mmap>) -> std::result::Result<(Entries, Metadata), Fault> {
    let broken = |e: safetensors::SafeTensorError| Fault::damaged(format!("bad safetensors: {e}"));
    let header = map.first_chunk().map_or(0, |&len| u64::from_le_bytes(len)).min(map.len() as u64);
    let _parsed = budget::claim(PARSED * header)?;
    let (header_len, header) = SafeTensors::read_metadata(map).map_err(broken)?;
    let data = WORD + header_len;
    let mut entries = BTreeMap::new();
    for (name, info) in header.tensors() {
        let at = |fault: Fault| fault.at(&format!("tensor {name}"));
        let dtype = dtype(info.dtype).map_err(at)?;
        let (start, end) = info.data_offsets;
        let bytes = Bytes::part(map, data + start, end - start).map_err(at)?;
        let entry = Entry::contiguous(dtype, info.shape.clone(), bytes).map_err(at)?;
        entries.insert(name, entry);
    }
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((entries, metadata))
}

fn dtype(dtype: safetensors::Dtype) -> std::result::Result<Dtype, Fault> {
    Ok(match dtype {
        safetensors::Dtype::F64 => Dtype::F64,
        safetensors::Dtype::F32 => Dtype::F32,
        safetensors::Dtype::F16 => Dtype::F16,
        safetensors::Dtype::BF16 => Dtype::BF16,
        safetensors::Dtype::I64 => Dtype::I64,
        safetensors::Dtype::I32 => Dtype::I32,
        safetensors::Dtype::I16 => Dtype::I16,
        safetensors::Dtype::I8 => Dtype::I8,
        safetensors::Dtype::U8 => Dtype::U8,
        safetensors::Dtype::BOOL => Dtype::Bool,
        other => {
            return Err(Fault::new(format!("is {other:?}"), "save it as float32, float16 or bfloat16"));
        }
    })
}

/// Writes f32 tensors, whole or not at all: [`save_safetensors_as`] with [`Precision::F32`].
///
/// # Errors
/// Those of [`save_safetensors_as`].
pub fn save_safetensors(path: &Path, tensors: &[(String, &Tensor)], metadata: &Metadata) -> Result<()> {
    save_safetensors_as(path, tensors, metadata, Precision::F32)
}

/// Writes tensors, whole or not at all. The same tensors and metadata give the same bytes, in whatever order they come.
/// The header is written here because the `safetensors` crate puts the metadata in the order of a hash map, which
/// differs from run to run.
///
/// # Errors
/// Two tensors of one name, values that the precision cannot hold, and a file that cannot be written.
pub fn save_safetensors_as(
    path: &Path,
    tensors: &[(String, &Tensor)],
    metadata: &Metadata,
    precision: Precision,
) -> Result<()> {
    let sorted = in_order(path, tensors, precision)?;
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut end = 0;
    for (name, shape, values) in &sorted {
        let start = end;
        end += precision.size() * values.len();
        let info = json!({"dtype": name_of(precision), "shape": shape, "data_offsets": [start, end]});
        header.insert(name.to_string(), info);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(WORD), b' ');
    write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        sorted.iter().try_for_each(|(_, _, values)| precision.write(file, values))
    })
}

fn name_of(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "F32",
        Precision::F16 => "F16",
    }
}
