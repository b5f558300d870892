//! The shared part of the heads for image classes: affine maps on the class token, one after the other.

use autograd::{Tape, Var};
use engine::{Rng, Tensor};
use ptx::batch_norm::{batch_norm, normalised_by};
use ptx::cross_entropy::{cross_entropy, smooth_targets};
use ptx::linear::linear;
use ptx::token_rows::window;

use super::entry::{Assigning, Head, HeadEntry, Labels, Logits, Moved, Place};
use crate::data::augment::blend_mirrored;
use crate::params::{Bound, HEAD, ParamId};
use crate::pass::Tokens;
use crate::score::Measure;
use crate::{Error, Result, streams};

/// The places of the parameters of affine maps that are applied in order.
struct Classifier {
    /// Weight and bias of each map; means of logits have no bias.
    maps: Vec<(ParamId, Option<ParamId>)>,
    /// Number of logits, of which the last map may give more.
    classes: usize,
    /// Running mean and variance `[d]` by which the features are normalised first.
    running: Option<[ParamId; 2]>,
    counted: Option<Assigning>,
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
        place.params.room(&name, &shape)?;
        let value = match shape.len() {
            1 => Tensor::zeros(place.device, &shape),
            _ => drawn(place, i, &shape, |rng| 0.02 * rng.normal()),
        };
        ids.push(place.params.add(HEAD, name, value, true));
    }
    let maps = ids.as_chunks().0.iter().map(|&[weight, bias]| (weight, Some(bias))).collect();
    Ok(Box::new(Classifier { maps, classes: place.classes, running: None, counted: None }))
}

/// The share of a batch's mean and variance in the running ones, as published.
const MOMENTUM: f32 = 0.1;

/// Adds a trained map of features that are normalised over the batch, with the published deviation of its weights. The
/// running mean and variance, by which evaluation normalises, begin at 0 and 1.
pub(super) fn build_normalised(entry: &HeadEntry, place: &mut Place) -> Result<Box<dyn Head>> {
    let d = place.spec.width;
    let mut running = |name: &str, value: f32| -> Result<ParamId> {
        place.params.room(name, &[d])?;
        Ok(place.params.add_found(HEAD, name, Tensor::from_vec(vec![value; d], &[d])))
    };
    let running = Some([running("head.0.running_mean", 0.0)?, running("head.0.running_var", 1.0)?]);
    let shapes = (entry.shapes)(d, place.classes);
    for (name, shape) in &shapes {
        place.params.room(name, shape)?;
    }
    let [(weight, shape), (bias, bias_shape)] = &shapes[..] else { unreachable!("one map") };
    let value = drawn(place, 0, shape, |rng| 0.01 * rng.normal());
    let weight = place.params.add(HEAD, weight.clone(), value, true);
    let bias = place.params.add(HEAD, bias.clone(), Tensor::zeros(place.device, bias_shape), true);
    Ok(Box::new(Classifier {
        maps: vec![(weight, Some(bias))],
        classes: place.classes,
        running,
        counted: None,
    }))
}

/// Initial values of the head's tensor number `i`.
fn drawn(place: &Place, i: usize, shape: &[usize], draw: impl Fn(&mut Rng) -> f64) -> Tensor {
    let mut rng = Rng::keyed(place.seed, 0, 0, streams::HEAD_INIT + i as u32);
    Tensor::from_vec((0..shape.iter().product()).map(|_| draw(&mut rng) as f32).collect(), shape)
}

/// Adds the head with which the backbone was trained, frozen, and returns the number of its logits.
fn add_source(entry: &HeadEntry, place: &mut Place) -> Result<([ParamId; 2], usize)> {
    let Some([weight, bias]) = place.source else {
        let what = "the backbone's checkpoint has no head (head.weight and head.bias)";
        return Err(Error::input(
            format!("head {}", entry.name),
            what,
            "give a checkpoint that has its head",
        ));
    };
    let weight = place.params.add(HEAD, "head.weight", weight.clone(), false);
    let ids = [weight, place.params.add(HEAD, "head.bias", bias.clone(), false)];
    Ok((ids, bias.numel()))
}

/// Adds the head with which the backbone was trained, frozen, of which the first logits are the task's classes.
pub(super) fn build_first(entry: &HeadEntry, place: &mut Place) -> Result<Box<dyn Head>> {
    let ([weight, bias], logits) = add_source(entry, place)?;
    if logits < place.classes {
        let what = format!("the backbone's own head has {logits} classes, the task {}", place.classes);
        return Err(Error::input(format!("head {}", entry.name), what, "train a head instead"));
    }
    let maps = vec![(weight, Some(bias))];
    Ok(Box::new(Classifier { maps, classes: place.classes, running: None, counted: None }))
}

/// Adds the head with which the backbone was trained, frozen, and a map from its logits to the classes: a trained one with
/// PyTorch's initial values, or shares that counting finds.
pub(super) fn build_source(entry: &HeadEntry, place: &mut Place, trained: bool) -> Result<Box<dyn Head>> {
    let ([weight, bias], logits) = add_source(entry, place)?;
    let limit = 1.0 / (logits as f64).sqrt();
    let mut ids = vec![];
    for (i, (name, shape)) in (entry.shapes)(logits, place.classes).into_iter().enumerate() {
        place.params.room(&name, &shape)?;
        ids.push(match trained {
            true => {
                let value = drawn(place, i, &shape, |rng| rng.range(-limit, limit));
                place.params.add(HEAD, name, value, true)
            }
            false => place.params.add_found(HEAD, name, Tensor::zeros(place.device, &shape)),
        });
    }
    let counted = (!trained).then(|| Assigning { weight, bias, shares: ids[0] });
    let maps = vec![(weight, Some(bias)), (ids[0], ids.get(1).copied())];
    Ok(Box::new(Classifier { maps, classes: place.classes, running: None, counted }))
}

impl Head for Classifier {
    fn classes(&self) -> usize {
        self.classes
    }

    fn features(&self, tape: &Tape, tokens: &Tokens) -> Result<Var> {
        tokens.features(tape)
    }

    fn logits(&self, tape: &Tape, params: &Bound, features: &Var) -> Result<Logits> {
        tape.scope("head");
        let (mut x, mut moved) = (features.clone(), vec![]);
        match self.running {
            Some(running) if tape.records() => {
                let (y, moments) = batch_norm(tape, &x)?;
                let moves = |(param, towards)| Moved { param, towards, rate: MOMENTUM };
                moved = running.into_iter().zip(moments).map(moves).collect();
                x = y;
            }
            Some([mean, variance]) => x = normalised_by(tape, &x, &params[mean], &params[variance])?,
            None => {}
        }
        for &(weight, bias) in &self.maps {
            x = linear(tape, &x, &params[weight], bias.map(|bias| &params[bias]))?;
        }
        let (images, all) = (x.shape()[0], x.shape()[1]);
        if all == self.classes {
            return Ok(Logits { values: x, moved });
        }
        let first = window(tape, &tape.reshape(&x, &[images, all, 1])?, 0, self.classes)?;
        Ok(Logits { values: tape.reshape(&first, &[images, self.classes])?, moved })
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

    fn counted(&self) -> Option<Assigning> {
        self.counted
    }
}
