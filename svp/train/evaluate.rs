//! Accuracy of a classifier on a split.

use autograd::Tape;
use serde::Serialize;

use super::Feed;
use crate::Result;
use crate::model::Classifier;

/// What an evaluation found. Accuracies are shares in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    pub images: usize,
    /// Mean plain cross-entropy.
    pub loss: f64,
    pub top1: f64,
    pub top5: f64,
    /// Correct and all images of each class.
    pub per_class: Vec<(usize, usize)>,
}

/// Classes by falling logit; equal logits in class order.
pub fn ranking(logits: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order
}

/// The probabilities of one row of logits.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f64> = logits.iter().map(|&l| f64::from(l - largest).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / sum).collect()
}

/// Runs over the whole split. With fewer than five classes every image counts as a top-5 hit.
pub fn evaluate(
    model: &Classifier,
    feed: &Feed,
    classes: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Evaluation>> {
    let mut found =
        Evaluation { images: 0, loss: 0.0, top1: 0.0, top5: 0.0, per_class: vec![(0, 0); classes] };
    let (mut hits1, mut hits5) = (0, 0);
    for batch in feed.epoch(0, 0, model.vim.config.img_size) {
        if stop() {
            return Ok(None);
        }
        let batch = batch?;
        let logits = match feed {
            Feed::Images(_) => model.logits(batch.input)?,
            Feed::Features(_) => model.classify(&Tape::inference(&model.device), batch.input)?.0.into_value(),
        };
        for (logits, &label) in logits.values()?.chunks_exact(classes).zip(&batch.labels) {
            let label = label as usize;
            let hit = ranking(logits)[..classes.min(5)].iter().position(|&class| class == label);
            hits1 += usize::from(hit == Some(0));
            hits5 += usize::from(hit.is_some());
            found.per_class[label].0 += usize::from(hit == Some(0));
            found.per_class[label].1 += 1;
            found.loss -= softmax(logits)[label].max(f64::MIN_POSITIVE).ln();
            found.images += 1;
        }
    }
    let n = found.images.max(1) as f64;
    Ok(Some(Evaluation { loss: found.loss / n, top1: hits1 as f64 / n, top5: hits5 as f64 / n, ..found }))
}
