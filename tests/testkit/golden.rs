//! Reads files with numbers of the published code, and compares with them (`docs/goldens.md`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use engine::Tensor;
use safetensors::{Dtype, SafeTensors};

/// A golden file: settings as text, and tensors by name.
pub struct Golden {
    /// Settings by name: its `kind`, sizes, and what the numbers were computed with.
    pub metadata: HashMap<String, String>,
    /// The f32 tensors, on the CPU.
    pub tensors: HashMap<String, Tensor>,
    /// The i64 tensors, flat.
    pub integers: HashMap<String, Vec<i64>>,
    /// The f64 tensors, flat.
    pub doubles: HashMap<String, Vec<f64>>,
}

impl Golden {
    /// Reads a file; tensors of other types than f32, f64 and i64 are left out. Panics where it is not a safetensors file.
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("just read");
        let mut golden = Golden {
            metadata: header.metadata().clone().unwrap_or_default(),
            tensors: HashMap::new(),
            integers: HashMap::new(),
            doubles: HashMap::new(),
        };
        for (name, view) in file.tensors() {
            match view.dtype() {
                Dtype::F32 => {
                    let values = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
                    golden.tensors.insert(name, Tensor::from_vec(values.collect(), view.shape()));
                }
                Dtype::I64 => {
                    let values = view.data().as_chunks().0.iter().map(|&b| i64::from_le_bytes(b));
                    golden.integers.insert(name, values.collect());
                }
                Dtype::F64 => {
                    let values = view.data().as_chunks().0.iter().map(|&b| f64::from_le_bytes(b));
                    golden.doubles.insert(name, values.collect());
                }
                _ => {}
            }
        }
        golden
    }

    /// The kind of the file; `None` for a checkpoint, which is no golden file.
    pub fn kind(&self) -> Option<&str> {
        self.metadata.get("kind").map(String::as_str)
    }

    /// A setting; panics where there is none.
    pub fn setting(&self, name: &str) -> &str {
        self.metadata.get(name).unwrap_or_else(|| panic!("no setting {name}"))
    }

    /// A setting that is a whole number.
    pub fn size(&self, name: &str) -> usize {
        self.setting(name).parse().unwrap_or_else(|e| panic!("setting {name}: {e}"))
    }

    /// A tensor of f32; panics where there is none.
    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no f32 tensor {name}"))
    }

    /// The class of each image of the batch.
    pub fn labels(&self) -> Vec<u32> {
        let labels = self.integers.get("input.labels").expect("no labels");
        labels.iter().map(|&label| u32::try_from(label).expect("a class")).collect()
    }

    /// A tensor `(batch, channel, length)` in this project's layout `[batch length channel]`.
    pub fn channels_last(&self, name: &str) -> Tensor {
        let t = self.get(name);
        let [b, c, l] = t.shape()[..] else { panic!("{name}: {:?}", t.shape()) };
        let from = t.as_slice();
        let values = (0..b * l * c).map(|i| from[(i / (l * c) * c + i % c) * l + i / c % l]).collect();
        Tensor::from_vec(values, &[b, l, c])
    }
}

/// The safetensors files in a folder and in the folders below it, in order of their paths.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut found = vec![];
    for path in entries.map(|entry| entry.expect("readable").path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "safetensors") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The values of a tensor, wherever it is.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_host().unwrap()
}

/// Differences found so far.
#[derive(Default)]
pub struct Differences(pub Vec<String>);

impl Differences {
    /// Compares by the norm of the difference over the norm of `want`; NaN counts as a difference.
    pub fn compare(&mut self, name: &str, got: &[f32], want: &[f32], tolerance: f64) {
        if got.len() != want.len() {
            self.0.push(format!("{name}: {} values, want {}", got.len(), want.len()));
            return;
        }
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
        let wanted = norm(&mut want.iter().map(|&v| f64::from(v)));
        let off = norm(&mut got.iter().zip(want).map(|(g, w)| f64::from(*g) - f64::from(*w)));
        // Where all published values are zero there is no relative error, so the tolerance is absolute.
        let error = if wanted == 0.0 { off } else { off / wanted };
        if !(error <= tolerance) {
            self.0.push(format!("{name}: relative error {error:.2e}, allowed {tolerance:.0e}"));
        }
    }
}
