//! Accuracy of a classifier on a split.

use autograd::Tape;
use engine::{Arriving, Tensor};
use serde::{Deserialize, Serialize};

use super::feed::{Feed, FeedBatch};
use super::input::Input;
use crate::Result;
use crate::heads::Labels;
use crate::model::Model;
use crate::pass::Noise;
use crate::score::{Measure, Score};

/// The result of an evaluation. Accuracies are shares in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of images.
    pub images: usize,
    /// Mean cross-entropy in nats, without label smoothing.
    pub loss: f64,
    /// Share of the images whose class has the largest logit.
    pub top1: f64,
    /// Share of the images whose class is among the five largest logits.
    pub top5: f64,
    /// Correctly classified images and all images of each class.
    pub per_class: Vec<(usize, usize)>,
}

impl Evaluation {
    /// This evaluation's value of `measure`.
    pub fn score(&self, measure: Measure) -> Score {
        let value = match measure {
            Measure::Top1 => self.top1,
        };
        Score { measure, value }
    }
}

/// Class indices by falling logit; equal logits stay in class order.
pub fn ranking(logits: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order
}

/// Softmax of one row of logits, computed in f64.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f64> = logits.iter().map(|&l| f64::from(l - largest).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / sum).collect()
}

/// Evaluates `model` on the whole split; `None` when `stop` ended it early. With five classes or fewer every image
/// counts as a top-5 hit.
///
/// # Errors
/// More than 1 % of broken images, and faults of the device.
pub fn evaluate(
    model: &Model,
    feed: &Feed,
    classes: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Evaluation>> {
    let mut count = Count::new(classes);
    let done = each_image(model, feed, stop, &mut |logits, label, _| count.add(logits, label))?;
    Ok(done.then(|| count.found()))
}

/// Passes the logits of every image of the split, in order, to `each`, with the image's class and position. Returns
/// false when `stop` ended it early.
pub(crate) fn each_image(
    model: &Model,
    feed: &Feed,
    stop: &dyn Fn() -> bool,
    each: &mut dyn FnMut(&[f32], u32, u32),
) -> Result<bool> {
    let classes = model.classes();
    let mut show = |(logits, labels, indices): (Arriving, Labels, Vec<u32>)| -> Result<()> {
        let logits = logits.wait()?;
        let images = logits.chunks_exact(classes).zip(labels.classes().iter().zip(&indices));
        images.for_each(|(logits, (&label, &index))| each(logits, label, index));
        Ok(())
    };
    let mut input = Input::default();
    // The device computes this batch while the logits of the last one are read.
    let mut waiting = None;
    for batch in feed.epoch(0, 0) {
        if stop() {
            return Ok(false);
        }
        let FeedBatch { input: batch, labels, indices, assignment, .. } = batch?;
        let batch = input.send(&model.device, batch)?;
        let tape = Tape::inference(&model.device);
        let logits = match feed {
            Feed::Images(_) => {
                let known = assignment.map(|known| Tensor::from_slice(&model.device, &known, &[known.len()]));
                model.forward_assigned(&tape, batch, Noise::default(), known)?.logits
            }
            Feed::Features(_) => model.classify(&tape, batch)?.0.values,
        };
        let logits = logits.into_value();
        if let Some(before) = waiting.replace((logits.receive()?, labels, indices)) {
            show(before)?;
        }
    }
    waiting.map_or(Ok(()), show)?;
    Ok(true)
}

/// Running sums of an evaluation.
pub(crate) struct Count {
    classes: usize,
    /// Images whose class ranks first, and among the first five.
    hits: [usize; 2],
    loss: f64,
    per_class: Vec<(usize, usize)>,
}

impl Count {
    pub fn new(classes: usize) -> Self {
        Count { classes, hits: [0, 0], loss: 0.0, per_class: vec![(0, 0); classes] }
    }

    pub fn add(&mut self, logits: &[f32], label: u32) {
        let label = label as usize;
        let hit = ranking(logits)[..self.classes.min(5)].iter().position(|&class| class == label);
        self.hits[0] += usize::from(hit == Some(0));
        self.hits[1] += usize::from(hit.is_some());
        self.per_class[label].0 += usize::from(hit == Some(0));
        self.per_class[label].1 += 1;
        self.loss -= softmax(logits)[label].max(f64::MIN_POSITIVE).ln();
    }

    pub fn found(self) -> Evaluation {
        let images = self.per_class.iter().map(|(_, all)| all).sum();
        let n = usize::max(images, 1) as f64;
        let [top1, top5] = self.hits.map(|hits| hits as f64 / n);
        Evaluation { images, loss: self.loss / n, top1, top5, per_class: self.per_class }
    }
}
