//! Writes checkpoints as `torch.save` writes them, so that PyTorch loads them, with `weights_only` too.
//!
//! The pickle is the dict `{"model": {name: tensor}, "metadata": {key: text}}` in protocol 2. Every tensor has a storage
//! of its own, row-major; nothing is remembered, because nothing is used twice.

use std::io::{self, Seek, Write};
use std::mem::ManuallyDrop;
use std::path::Path;

use engine::Tensor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::Result;
use crate::checkpoint::entry::{Metadata, row_major};
use crate::checkpoint::precision::{Precision, Written, in_order};
use crate::checkpoint::write::write_atomically;

/// Bytes to which PyTorch aligns storages, so that they can be used in place.
const ALIGNMENT: u16 = 64;
/// A member of this size needs the long form of zip's headers.
const LARGE: usize = u32::MAX as usize;

/// Writes tensors and text as a `.pth`, whole or not at all. The same tensors and metadata give the same bytes, in
/// whatever order they come.
///
/// # Errors
/// Two tensors of one name, values that the precision cannot hold, and a file that cannot be written.
pub fn save_torch(
    path: &Path,
    tensors: &[(String, &Tensor)],
    metadata: &Metadata,
    precision: Precision,
) -> Result<()> {
    let sorted = in_order(path, tensors, precision)?;
    let pickle = pickled(&sorted, metadata, precision);
    write_atomically(path, |file| {
        // Dropped unfinished, the writer would print a line of its own beside the error; what it holds is little.
        let mut zip = ManuallyDrop::new(ZipWriter::new(file));
        write_members(&mut zip, &pickle, &sorted, precision)?;
        ManuallyDrop::into_inner(zip).finish()?;
        Ok(())
    })
}

fn write_members(
    zip: &mut ZipWriter<impl Write + Seek>,
    pickle: &[u8],
    tensors: &[Written],
    precision: Precision,
) -> io::Result<()> {
    let stored =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(ALIGNMENT);
    for (name, bytes) in [("data.pkl", pickle), ("byteorder", b"little"), ("version", b"3\n")] {
        zip.start_file(format!("model/{name}"), stored)?;
        zip.write_all(bytes)?;
    }
    for (key, (_, _, values)) in tensors.iter().enumerate() {
        let large = values.len() * precision.size() >= LARGE;
        zip.start_file(format!("model/data/{key}"), stored.large_file(large))?;
        precision.write(&mut *zip, values)?;
    }
    Ok(())
}

fn pickled(tensors: &[Written], metadata: &Metadata, precision: Precision) -> Vec<u8> {
    let mut pickle = Pickler(b"\x80\x02}(".to_vec());
    pickle.text("model");
    pickle.put(b"}(");
    for (key, (name, shape, values)) in tensors.iter().enumerate() {
        pickle.text(name);
        pickle.tensor(key, shape, values.len(), precision);
    }
    pickle.put(b"u");
    pickle.text("metadata");
    pickle.put(b"}(");
    for (key, value) in metadata {
        pickle.text(key);
        pickle.text(value);
    }
    pickle.put(b"uu.");
    pickle.0
}

/// The opcodes of a pickle.
struct Pickler(Vec<u8>);

impl Pickler {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.put(b"X");
        self.put(&(text.len() as u32).to_le_bytes());
        self.put(text.as_bytes());
    }

    fn size(&mut self, n: usize) {
        match i32::try_from(n) {
            Ok(n) => self.put(&[&b"J"[..], &n.to_le_bytes()].concat()),
            Err(_) => self.put(&[&b"\x8a\x08"[..], &(n as i64).to_le_bytes()].concat()),
        }
    }

    fn sizes(&mut self, sizes: &[usize]) {
        self.put(b"(");
        sizes.iter().for_each(|&n| self.size(n));
        self.put(b"t");
    }

    /// `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`, with the storage as a persistent id.
    fn tensor(&mut self, key: usize, shape: &[usize], elements: usize, precision: Precision) {
        self.put(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.put(match precision {
            Precision::F32 => b"ctorch\nFloatStorage\n",
            Precision::F16 => b"ctorch\nHalfStorage\n",
        });
        self.text(&key.to_string());
        self.text("cpu");
        self.size(elements);
        self.put(b"tQ");
        self.size(0);
        self.sizes(shape);
        self.sizes(&row_major(shape));
        self.put(b"\x89ccollections\nOrderedDict\n)RtR");
    }
}
