//! The shared part of the heads for image classes: affine maps on the class token, one after the other.

use autograd::{Tape, Var};
use engine::{Device, Rng, Tensor};
use ptx::cross_entropy::{cross_entropy, smooth_targets};
use ptx::linear::linear;

use super::entry::{Head, HeadEntry, Labels};
use crate::data::augment::blend_mirrored;
use crate::params::{Bound, HEAD, ParamId, Params};
use crate::pass::{Spec, Tokens};
use crate::score::Measure;
use crate::{Result, streams};

/// The places of the parameters of affine maps that are applied in order.
struct Classifier {
    maps: Vec<[ParamId; 2]>,
}

/// Names and shapes of the weight `[n k]` and the bias `[n]` of one map.
pub(super) fn map(name: &str, n: usize, k: usize) -> [(String, Vec<usize>); 2] {
    [(format!("{name}.weight"), vec![n, k]), (format!("{name}.bias"), vec![n])]
}

/// Adds a trained classifier. Its weights are normal with deviation 0.02 and its biases zero (`docs/recipe.md`,
/// "Initial values").
pub(super) fn build(
    entry: &HeadEntry,
    device: &Device,
    spec: &Spec,
    classes: usize,
    params: &mut Params,
    seed: u64,
) -> Box<dyn Head> {
    let mut ids = vec![];
    for (i, (name, shape)) in (entry.shapes)(spec.width, classes).into_iter().enumerate() {
        let mut rng = Rng::keyed(seed, 0, 0, streams::HEAD_INIT + i as u32);
        let value = match shape.len() {
            1 => Tensor::zeros(device, &shape),
            _ => {
                let n = shape.iter().product();
                Tensor::from_vec((0..n).map(|_| (0.02 * rng.normal()) as f32).collect(), &shape)
            }
        };
        ids.push(params.add(HEAD, name, value, true));
    }
    Box::new(Classifier { maps: ids.as_chunks().0.to_vec() })
}

impl Head for Classifier {
    fn classes(&self, params: &Params) -> usize {
        let [_, bias] = self.maps.last().expect("at least one map");
        params.get(*bias).numel()
    }

    fn features(&self, tape: &Tape, tokens: &Tokens) -> Result<Var> {
        tokens.class_features(tape)
    }

    fn logits(&self, tape: &Tape, params: &Bound, features: &Var) -> Result<Var> {
        tape.scope("head");
        let mut x = features.clone();
        for &[weight, bias] in &self.maps {
            x = linear(tape, &x, &params[weight], Some(&params[bias]))?;
        }
        Ok(x)
    }

    fn targets(&self, labels: &Labels, classes: usize, smoothing: f32, own_share: f32) -> Result<Vec<f32>> {
        let mut targets = smooth_targets(labels.classes(), classes, smoothing)?;
        blend_mirrored(&mut targets, classes, own_share);
        Ok(targets)
    }

    fn loss(&self, tape: &Tape, logits: &Var, targets: &Tensor) -> Result<Var> {
        Ok(cross_entropy(tape, logits, targets)?)
    }

    fn measure(&self) -> Measure {
        Measure::Top1
    }
}
