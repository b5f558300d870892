//! Which classes a model takes for which, and what follows from it for each class.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::table::csv_line;

/// Counts of images by their true class and the predicted one. Only counts above 0 take memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Confusion {
    counts: BTreeMap<(u32, u32), u32>,
}

/// How well one class is told from the others. A share is missing where there is nothing to take it of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScore {
    /// Correct images over all images that were predicted as the class.
    pub precision: Option<f64>,
    /// Correct images over all images of the class.
    pub recall: Option<f64>,
    /// Harmonic mean of the two: twice the correct images over the images of the class and those predicted as it.
    pub f1: Option<f64>,
}

/// Means over the classes that have images. A precision that is missing counts as 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Means {
    /// Mean precision.
    pub precision: f64,
    /// Mean recall, which is also called balanced accuracy.
    pub recall: f64,
    /// Mean F1.
    pub f1: f64,
}

impl Confusion {
    /// Counts an image of class `truth` that was predicted as `said`.
    pub fn add(&mut self, truth: u32, said: u32) {
        *self.counts.entry((truth, said)).or_default() += 1;
    }

    /// The number of images of class `truth` that were predicted as `said`.
    pub fn count(&self, truth: u32, said: u32) -> u32 {
        self.counts.get(&(truth, said)).copied().unwrap_or(0)
    }

    /// The number of images of a class.
    pub fn images(&self, truth: u32) -> u32 {
        self.of(truth).map(|(_, count)| count).sum()
    }

    /// The class that images of `truth` are most often taken for, and how often; the first of equals.
    pub fn mostly_taken_for(&self, truth: u32) -> Option<(u32, u32)> {
        let others = self.of(truth).filter(|&(said, _)| said != truth);
        others.reduce(|most, other| if other.1 > most.1 { other } else { most })
    }

    /// The classes that were predicted for images of a class, and how often.
    fn of(&self, truth: u32) -> impl Iterator<Item = (u32, u32)> {
        self.counts.range((truth, 0)..=(truth, u32::MAX)).map(|(&(_, said), &count)| (said, count))
    }

    /// True class, predicted class and count of all counts above 0, sorted by the classes.
    pub fn cells(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        self.counts.iter().map(|(&(truth, said), &count)| (truth, said, count))
    }

    /// The mistakes as true class, predicted class and count, the most frequent first.
    pub fn mistakes(&self) -> Vec<(u32, u32, u32)> {
        let mut wrong: Vec<_> = self.cells().filter(|(truth, said, _)| truth != said).collect();
        wrong.sort_by_key(|&(_, _, count)| std::cmp::Reverse(count));
        wrong
    }

    /// The scores of `classes` classes.
    pub fn scores(&self, classes: usize) -> Vec<ClassScore> {
        let (mut images, mut predicted) = (vec![0; classes], vec![0; classes]);
        for (truth, said, count) in self.cells() {
            images[truth as usize] += count;
            predicted[said as usize] += count;
        }
        let share = |part: u32, all: u32| (all > 0).then(|| f64::from(part) / f64::from(all));
        let score = |class: usize| {
            let correct = self.count(class as u32, class as u32);
            let (images, predicted) = (images[class], predicted[class]);
            let f1 = if images == 0 { None } else { share(2 * correct, images + predicted) };
            ClassScore { precision: share(correct, predicted), recall: share(correct, images), f1 }
        };
        (0..classes).map(score).collect()
    }

    /// The matrix as CSV: a row for every true class, a column for every predicted one.
    pub fn csv(&self, classes: &[String]) -> String {
        let head = "true \\ predicted".to_string();
        let mut text = csv_line([head].into_iter().chain(classes.iter().cloned()));
        for (truth, class) in (0..).zip(classes) {
            let mut row = vec![0; classes.len()];
            self.of(truth).for_each(|(said, count)| row[said as usize] = count);
            text += &csv_line([class.clone()].into_iter().chain(row.iter().map(u32::to_string)));
        }
        text
    }
}

impl Means {
    /// The means of scores; `None` where no class has images.
    pub fn of(scores: &[ClassScore]) -> Option<Self> {
        let present: Vec<&ClassScore> = scores.iter().filter(|score| score.recall.is_some()).collect();
        let mean = |of: fn(&ClassScore) -> Option<f64>| {
            present.iter().map(|score| of(score).unwrap_or(0.0)).sum::<f64>() / present.len() as f64
        };
        let means =
            || Means { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1) };
        (!present.is_empty()).then(means)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five classes: 3 of 4 images of the first are right and one is taken for the second; one of two of the second, the
    /// other is taken for the fourth, which has no image; the third's one image is taken for the first, and so nothing
    /// is taken for the third; the fifth does not occur.
    fn example() -> Confusion {
        let mut confusion = Confusion::default();
        for (truth, said) in [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 3), (2, 0)] {
            confusion.add(truth, said);
        }
        confusion
    }

    #[test]
    fn scores_are_those_computed_by_hand() {
        let scores = example().scores(5);
        let score = |precision, recall, f1| ClassScore { precision, recall, f1 };
        assert_eq!(
            scores,
            [
                score(Some(0.75), Some(0.75), Some(0.75)),
                score(Some(0.5), Some(0.5), Some(0.5)),
                score(None, Some(0.0), Some(0.0)),
                score(Some(0.0), None, None),
                score(None, None, None),
            ]
        );
        let third = |sum: f64| sum / 3.0;
        let means = Means { precision: third(1.25), recall: third(1.25), f1: third(1.25) };
        assert_eq!(Means::of(&scores), Some(means));
        assert_eq!(Means::of(&scores[3..]), None);
        // Precision and recall differ: 2 of 3 are found, 2 of 2 predictions are right.
        let mut uneven = Confusion::default();
        [(0, 0), (0, 0), (0, 1)].into_iter().for_each(|(truth, said)| uneven.add(truth, said));
        assert_eq!(uneven.scores(1 + 1)[0], score(Some(1.0), Some(2.0 / 3.0), Some(0.8)));
    }

    #[test]
    fn the_matrix_is_csv_whatever_classes_are_called() {
        let classes = ["a,\"b\"", "=1+1", "c\nd", "é", "e"].map(String::from);
        assert_eq!(
            example().csv(&classes),
            "true \\ predicted,\"a,\"\"b\"\"\",'=1+1,c\\nd,é,e\n\
             \"a,\"\"b\"\"\",3,1,0,0,0\n'=1+1,0,1,0,1,0\nc\\nd,1,0,0,0,0\né,0,0,0,0,0\ne,0,0,0,0,0\n"
        );
    }
}
