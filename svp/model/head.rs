//! The classifier on the class token.

use autograd::{Tape, Var};
use engine::{DType, Device, Rng, Tensor};
use ptx::linear::linear;
use ptx::token_rows::select;
use serde::{Deserialize, Serialize};

use super::{Bound, ParamId, Params, VimConfig};
use crate::Result;

const INIT: u32 = 0x4EAD_0000;

/// Shape of the classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// One affine map D -> K.
    Linear,
    /// D -> D/2 -> K with nothing between (the published recipe for CUB-200, NABirds and Flowers).
    TwoLayer,
}

/// Affine maps applied in order: where their parameters are.
pub struct Head {
    maps: Vec<(ParamId, ParamId)>,
}

impl Head {
    /// Names and shapes for `classes` classes.
    pub fn shapes(kind: HeadKind, embed_dim: usize, classes: usize) -> Vec<(String, Vec<usize>)> {
        let map =
            |name: &str, n, k| [(format!("{name}.weight"), vec![n, k]), (format!("{name}.bias"), vec![n])];
        match kind {
            HeadKind::Linear => map("head", classes, embed_dim).into(),
            HeadKind::TwoLayer => {
                let half = embed_dim / 2;
                [map("head.0", half, embed_dim), map("head.1", classes, half)].concat()
            }
        }
    }

    /// Adds a trained head: weights normal with deviation 0.02, biases zero.
    pub fn init(
        device: &Device,
        kind: HeadKind,
        vim: &VimConfig,
        classes: usize,
        params: &mut Params,
        seed: u64,
    ) -> Self {
        let shapes = Head::shapes(kind, vim.embed_dim, classes);
        let mut ids = vec![];
        for (i, (name, shape)) in shapes.into_iter().enumerate() {
            let mut rng = Rng::keyed(seed, 0, 0, INIT + i as u32);
            let value = match shape.len() {
                1 => Tensor::zeros(device, &shape),
                _ => {
                    let n = shape.iter().product();
                    Tensor::from_vec((0..n).map(|_| (0.02 * rng.normal()) as f32).collect(), &shape)
                }
            };
            ids.push(params.add(name, value, true));
        }
        Head { maps: ids.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect() }
    }

    /// Rows of the last map.
    pub fn classes(&self, params: &Params) -> usize {
        let (_, bias) = self.maps.last().expect("at least one map");
        params.get(*bias).numel()
    }

    /// Logits `[b classes]` of features `[b d]`.
    pub fn forward(&self, tape: &Tape, params: &Bound, features: &Var) -> Result<Var> {
        tape.scope("head");
        let mut x = features.clone();
        for &(weight, bias) in &self.maps {
            x = linear(tape, &x, &params[weight], Some(&params[bias]))?;
        }
        Ok(x)
    }

    /// The features of hidden tokens `[b l d]`: the class token's row, in f32.
    pub fn features(tape: &Tape, vim: &VimConfig, hidden: &Var) -> Result<Var> {
        Ok(tape.cast(&select(tape, hidden, vim.class_row())?, DType::F32)?)
    }
}
