//! A golden file and comparisons with it.

use std::collections::HashMap;
use std::path::Path;

use engine::Tensor;
use safetensors::{Dtype, SafeTensors};

pub struct Golden {
    metadata: HashMap<String, String>,
    pub tensors: HashMap<String, Tensor>,
    pub labels: Vec<u32>,
}

impl Golden {
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut golden = Golden {
            metadata: header.metadata().clone().unwrap_or_default(),
            tensors: HashMap::new(),
            labels: vec![],
        };
        for (name, view) in file.tensors() {
            match view.dtype() {
                Dtype::F32 => {
                    let values =
                        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                    golden.tensors.insert(name, Tensor::from_vec(values.collect(), view.shape()));
                }
                Dtype::I64 => {
                    let labels =
                        view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
                    golden.labels = labels.map(|l| u32::try_from(l).unwrap()).collect();
                }
                dtype => panic!("{name} is {dtype:?}"),
            }
        }
        golden
    }

    pub fn kind(&self) -> Option<&str> {
        self.metadata.get("kind").map(String::as_str)
    }

    pub fn setting(&self, name: &str) -> &str {
        self.metadata.get(name).unwrap_or_else(|| panic!("no setting {name}"))
    }

    pub fn size(&self, name: &str) -> usize {
        self.setting(name).parse().unwrap()
    }

    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// `(batch, channel, length)` as this project lays it out: `[batch length channel]`.
    pub fn channels_last(&self, name: &str) -> Tensor {
        let t = self.get(name);
        let [b, c, l] = t.shape()[..] else { panic!("{name}: {:?}", t.shape()) };
        let from = t.as_slice();
        let values = (0..b * l * c).map(|i| from[(i / (l * c) * c + i % c) * l + i / c % l]).collect();
        Tensor::from_vec(values, &[b, l, c])
    }
}

/// The values of a tensor, wherever it is.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_host().unwrap()
}

/// Differences found so far.
#[derive(Default)]
pub struct Differences(pub Vec<String>);

impl Differences {
    /// Compares by the norm of the difference over the norm of what is wanted.
    pub fn compare(&mut self, name: &str, got: &[f32], want: &[f32], tolerance: f64) {
        if got.len() != want.len() {
            self.0.push(format!("{name}: {} values, want {}", got.len(), want.len()));
            return;
        }
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
        let wanted = norm(&mut want.iter().map(|&v| f64::from(v)));
        let off = norm(&mut got.iter().zip(want).map(|(g, w)| f64::from(*g) - f64::from(*w)));
        // Where the published value is exactly zero, so must ours be.
        let error = if wanted == 0.0 { off } else { off / wanted };
        if !(error <= tolerance) {
            self.0.push(format!("{name}: relative error {error:.2e}, allowed {tolerance:.0e}"));
        }
    }
}
