//! Assigns the logits of the backbone's own head to the classes of a task by counting: the frequency mapping of AutoVP
//! (Tsao et al., ICLR 2024; `docs/methods.md`, "AutoVP").

use autograd::{Tape, Var};
use ptx::linear::linear;

use crate::Result;
use crate::heads::Assigning;
use crate::model::Model;
use crate::pass::Counted;
use crate::train::{Feed, FeedBatch, ranking};

/// How often each logit of the own head is the largest for the images of each class.
pub(crate) struct Tally {
    classes: usize,
    /// Counts `[s k]`.
    counts: Vec<u32>,
}

impl Tally {
    /// Counts over the images of `feed`, as the method changes them now; `None` once `stop` returns true.
    ///
    /// # Errors
    /// More than 1 % of broken images, and faults of the device.
    pub fn of(model: &Model, head: Assigning, feed: &Feed, stop: &dyn Fn() -> bool) -> Result<Option<Self>> {
        let (classes, logits) = (model.classes(), model.params.get(head.bias).numel());
        let mut tally = Tally { classes, counts: vec![0; logits * classes] };
        for batch in feed.epoch(0, 0) {
            if stop() {
                return Ok(None);
            }
            let FeedBatch { input, labels, .. } = batch?;
            let features = Var::constant(model.features(input)?);
            let tape = Tape::inference(&model.device);
            let bound = model.params.bind(&tape);
            let all = linear(&tape, &features, &bound[head.weight], Some(&bound[head.bias]))?;
            let all = all.value().values()?;
            for (logits, &label) in all.chunks_exact(logits).zip(labels.classes()) {
                tally.counts[ranking(logits)[0] * classes + label as usize] += 1;
            }
        }
        Ok(Some(tally))
    }

    /// The share `[k s]` of every logit in the logit of a class: 1/n for each of the `n` that are the class's. The pair of
    /// logit and class with the largest count is taken first, and no logit twice; of equal counts, that of the first logit,
    /// then of the first class.
    ///
    /// # Panics
    /// Where there are less than `n` logits for every class.
    pub fn shares(&self, n: usize) -> Vec<f32> {
        let (classes, logits) = (self.classes, self.counts.len() / self.classes);
        let mut pairs: Vec<usize> = (0..self.counts.len()).collect();
        // A stable sort keeps the order of equal counts.
        pairs.sort_by_key(|&pair| std::cmp::Reverse(self.counts[pair]));
        let (mut taken, mut of_class) = (vec![false; logits], vec![0; classes]);
        let mut shares = vec![0.0; classes * logits];
        for (logit, class) in pairs.into_iter().map(|pair| (pair / classes, pair % classes)) {
            if !taken[logit] && of_class[class] < n {
                taken[logit] = true;
                of_class[class] += 1;
                shares[class * logits + logit] = 1.0 / n as f32;
            }
        }
        assert!(of_class.iter().all(|&count| count == n), "{logits} logits for {classes} classes");
        shares
    }
}

/// Counts and assigns anew where the model's method wants it; returns false once `stop` returns true.
///
/// # Errors
/// Those of [`Tally::of`].
pub(crate) fn assign(model: &mut Model, feed: &Feed, stop: &dyn Fn() -> bool) -> Result<bool> {
    let (Some(Counted { logits, .. }), Some(head)) = (model.method.counted(), model.head.counted()) else {
        return Ok(true);
    };
    let Some(tally) = Tally::of(model, head, feed, stop)? else { return Ok(false) };
    // In place, because recorded steps know the address; only the shares that a resumed run has read are still those of its
    // file.
    let shares = model.params.get_mut(head.shares);
    shares.make_unique(&model.device);
    shares.send(&tally.shares(logits))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_counts_are_taken_first_and_no_logit_twice() {
        // Logits by classes. Logit 2 is the largest for both classes, and more often for class 1.
        let tally = Tally { classes: 2, counts: vec![1, 0, 3, 0, 5, 6, 0, 0] };
        let half = |of: [[usize; 2]; 2]| {
            let mut shares = vec![0.0; 8];
            of.iter().enumerate().for_each(|(class, of)| of.iter().for_each(|i| shares[class * 4 + i] = 0.5));
            shares
        };
        assert_eq!(tally.shares(2), half([[1, 0], [2, 3]]));
        assert_eq!(tally.shares(1), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        // Of equal counts, the first logit goes to the first class.
        let equal = Tally { classes: 2, counts: vec![1; 4] };
        assert_eq!(equal.shares(1), [1.0, 0.0, 0.0, 1.0]);
    }
}
