//! Weights of the classes in the loss, for data whose classes have different numbers of images.

use serde::{Deserialize, Serialize};

/// How much the classes weigh in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All alike.
    #[default]
    None,
    /// The fewer images a class has, the more it weighs.
    Balanced,
}

/// A weight for each class, which acts on the targets of the loss as the `weight` of PyTorch's `CrossEntropyLoss` does
/// (`docs/recipe.md`, "Class weights").
#[derive(Clone)]
pub struct ClassFactors {
    of: Vec<f32>,
    /// Whether targets are shares of classes, because batches are mixed, instead of one class for each image.
    mixed: bool,
}

impl ClassFactors {
    /// n / (K n_c) for a class with n_c of all n images, where K classes have any; 0 for the others. `mixed` says whether
    /// batches may be mixed.
    pub fn balanced(counts: &[usize], mixed: bool) -> Self {
        let classes = counts.iter().filter(|&&count| count > 0).count();
        let all: usize = counts.iter().sum();
        let weight = |&count: &usize| match count {
            0 => 0.0,
            _ => (all as f64 / (classes * count) as f64) as f32,
        };
        ClassFactors { of: counts.iter().map(weight).collect(), mixed }
    }

    /// Multiplies targets `[b k]` by the weights of their classes. Where every image has one class, in `labels`, they are
    /// also divided by the mean weight of these: the loss, a mean over the batch, then is one over the weights.
    pub fn apply(&self, targets: &mut [f32], labels: &[u32]) {
        let sum: f32 = labels.iter().map(|&label| self.of[label as usize]).sum();
        let factor = if self.mixed { 1.0 } else { labels.len() as f32 / sum };
        for row in targets.chunks_exact_mut(self.of.len()) {
            row.iter_mut().zip(&self.of).for_each(|(target, weight)| *target *= weight * factor);
        }
    }

    /// The least and the largest weight, in one line for the log.
    pub fn describe(&self) -> String {
        let [least, most] = [f32::min, f32::max].map(|of| self.of.iter().copied().reduce(of).unwrap_or(1.0));
        format!("class weights: {least:.3} to {most:.3}")
    }
}

#[cfg(test)]
mod tests {
    use autograd::{Tape, Var};
    use engine::{Device, Tensor};
    use ptx::cross_entropy::{cross_entropy, smooth_targets};

    use super::*;
    use crate::data::augment::blend_mirrored;

    const LOGITS: [f32; 12] = [0.5, -1.0, 2.0, 1.5, 0.0, -0.5, -2.0, 1.0, 0.25, 0.75, -0.25, 3.0];
    const LABELS: [u32; 4] = [2, 0, 1, 0];
    const SMOOTHING: f32 = 0.1;

    /// What scikit-learn 1.7 gives for `compute_class_weight("balanced", ...)` of such labels.
    fn weights(mixed: bool) -> ClassFactors {
        let weights = ClassFactors::balanced(&[6, 3, 1], mixed);
        for (weight, want) in weights.of.iter().zip([10.0 / 18.0, 10.0 / 9.0, 10.0 / 3.0]) {
            assert!((weight - want).abs() <= 1e-6, "{weight} {want}");
        }
        weights
    }

    fn log_softmax(row: &[f32]) -> Vec<f64> {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        row.iter().map(|&x| f64::from(x) - sum.ln()).collect()
    }

    fn loss(targets: Vec<f32>) -> f64 {
        let tape = Tape::inference(&Device::cpu());
        let logits = Var::constant(Tensor::from_slice(&Device::cpu(), &LOGITS, &[4, 3]));
        let loss = cross_entropy(&tape, &logits, &Tensor::from_vec(targets, &[4, 3])).unwrap();
        f64::from(loss.value().as_slice()[0])
    }

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-6 * want, "{got} {want}");
    }

    /// PyTorch's `cross_entropy_loss_label_smoothing` (`aten/src/ATen/native/LossNLL.cpp`): both the loss of the class and
    /// the smoothing are divided by the weights of the classes.
    #[test]
    fn one_class_an_image_is_weighted_as_in_pytorch() {
        let weights = weights(false);
        let (mut nll, mut smooth, mut sum) = (0.0, 0.0, 0.0);
        for (row, &label) in LOGITS.chunks(3).zip(&LABELS) {
            let log = log_softmax(row);
            let of = |class: usize| -f64::from(weights.of[class]) * log[class];
            nll += of(label as usize);
            smooth += (0..3).map(of).sum::<f64>();
            sum += f64::from(weights.of[label as usize]);
        }
        let e = f64::from(SMOOTHING);
        let want = (1.0 - e) * nll / sum + e / 3.0 * smooth / sum;
        let mut targets = smooth_targets(&LABELS, 3, SMOOTHING).unwrap();
        weights.apply(&mut targets, &LABELS);
        close(loss(targets), want);
    }

    /// PyTorch's `cross_entropy_loss_prob_target`: the mean is one over images, whatever they weigh.
    #[test]
    fn mixed_images_are_weighted_as_in_pytorch() {
        let weights = weights(true);
        let (share, e) = (0.7_f64, f64::from(SMOOTHING));
        let mut want = 0.0;
        for (i, row) in LOGITS.chunks(3).enumerate() {
            let log = log_softmax(row);
            let of = |image: usize, class: usize| f64::from(LABELS[image] as usize == class);
            let target = |class| share * of(i, class) + (1.0 - share) * of(3 - i, class);
            let smoothed = |class| (1.0 - e) * target(class) + e / 3.0;
            want -= (0..3).map(|c| smoothed(c) * f64::from(weights.of[c]) * log[c]).sum::<f64>() / 4.0;
        }
        let mut targets = smooth_targets(&LABELS, 3, SMOOTHING).unwrap();
        blend_mirrored(&mut targets, 3, share as f32);
        weights.apply(&mut targets, &LABELS);
        close(loss(targets), want);
    }

    #[test]
    fn equal_classes_weigh_one_and_empty_ones_nothing() {
        let weights = ClassFactors::balanced(&[4, 0, 4], false);
        assert_eq!(weights.of, [1.0, 0.0, 1.0]);
        assert_eq!(weights.describe(), "class weights: 0.000 to 1.000");
    }
}
