//! The shared part of the heads for image classes: affine maps on the class token, one after the other.

use autograd::{Tape, Var};
use engine::{Rng, Tensor};
use ptx::cross_entropy::{cross_entropy, smooth_targets};
use ptx::linear::linear;
use ptx::token_rows::window;

use super::entry::{Head, HeadEntry, Labels, Place};
use crate::data::augment::blend_mirrored;
use crate::params::{Bound, HEAD, ParamId};
use crate::pass::Tokens;
use crate::score::Measure;
use crate::{Error, Result, streams};

/// The places of the parameters of affine maps that are applied in order.
struct Classifier {
    maps: Vec<[ParamId; 2]>,
    /// Number of logits, of which the last map may give more.
    classes: usize,
}

/// Names and shapes of the weight `[n k]` and the bias `[n]` of one map.
pub(super) fn map(name: &str, n: usize, k: usize) -> [(String, Vec<usize>); 2] {
    [(format!("{name}.weight"), vec![n, k]), (format!("{name}.bias"), vec![n])]
}

/// Adds a trained classifier. Its weights are normal with deviation 0.02 and its biases zero (`docs/recipe.md`,
/// "Initial values").
pub(super) fn build(entry: &HeadEntry, place: &mut Place) -> Result<Box<dyn Head>> {
    let mut ids = vec![];
    for (i, (name, shape)) in (entry.shapes)(place.spec.width, place.classes).into_iter().enumerate() {
        let mut rng = Rng::keyed(place.seed, 0, 0, streams::HEAD_INIT + i as u32);
        let value = match shape.len() {
            1 => Tensor::zeros(place.device, &shape),
            _ => {
                let n = shape.iter().product();
                Tensor::from_vec((0..n).map(|_| (0.02 * rng.normal()) as f32).collect(), &shape)
            }
        };
        ids.push(place.params.add(HEAD, name, value, true));
    }
    Ok(Box::new(Classifier { maps: ids.as_chunks().0.to_vec(), classes: place.classes }))
}

/// Adds the head with which the backbone was trained, frozen, of which the first logits are the task's classes.
pub(super) fn build_first(entry: &HeadEntry, place: &mut Place) -> Result<Box<dyn Head>> {
    let name = entry.name;
    let Some([weight, bias]) = place.source else {
        let what = "the backbone's checkpoint has no head (head.weight and head.bias)";
        return Err(Error::input(format!("head {name}"), what, "give a checkpoint that has its head"));
    };
    if bias.numel() < place.classes {
        let what =
            format!("the backbone's own head has {} classes, the task {}", bias.numel(), place.classes);
        return Err(Error::input(format!("head {name}"), what, "train a head instead"));
    }
    let weight = place.params.add(HEAD, "head.weight", weight.clone(), false);
    let bias = place.params.add(HEAD, "head.bias", bias.clone(), false);
    Ok(Box::new(Classifier { maps: vec![[weight, bias]], classes: place.classes }))
}

impl Head for Classifier {
    fn classes(&self) -> usize {
        self.classes
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
        let (images, all) = (x.shape()[0], x.shape()[1]);
        if all == self.classes {
            return Ok(x);
        }
        let first = window(tape, &tape.reshape(&x, &[images, all, 1])?, 0, self.classes)?;
        Ok(tape.reshape(&first, &[images, self.classes])?)
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
