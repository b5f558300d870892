//! Whether a model is as sure as it is right.

/// Bins of the confidence, as Guo et al. use them.
const BINS: usize = 15;

/// Sums for the expected calibration error (Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, eq. 3):
/// images are binned by confidence, the probability of the predicted class, into 15 intervals `(m / 15, (m + 1) / 15]`.
/// The error is the mean over all images of the distance, in their bin, between mean confidence and accuracy.
#[derive(Debug, Clone, Default)]
pub struct Calibration {
    /// For each bin the sum of its confidences, and the number of its images that are right.
    sums: [(f64, usize); BINS],
    images: usize,
}

impl Calibration {
    /// Counts an image that was predicted with `confidence`, a probability.
    pub fn add(&mut self, confidence: f64, correct: bool) {
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let (sum, right) = &mut self.sums[bin];
        *sum += confidence;
        *right += usize::from(correct);
        self.images += 1;
    }

    /// The expected calibration error, 0 to 1; 0 without images.
    pub fn error(&self) -> f64 {
        let gaps: f64 = self.sums.iter().map(|(sum, right)| (sum - *right as f64).abs()).sum();
        gaps / self.images.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(images: &[(f64, bool)]) -> f64 {
        let mut calibration = Calibration::default();
        images.iter().for_each(|&(confidence, correct)| calibration.add(confidence, correct));
        calibration.error()
    }

    #[test]
    fn the_error_is_that_computed_by_hand() {
        assert_eq!(error(&[]), 0.0);
        // One bin: mean confidence 0.95, accuracy 0.5.
        assert!((error(&[(0.94, true), (0.96, false)]) - 0.45).abs() < 1e-12);
        // Two bins with 3 and 1 images: 3/4 |0.95 - 2/3| + 1/4 |0.5 - 1|.
        let two = [(0.94, true), (0.95, true), (0.96, false), (0.5, true)];
        let want = 0.75 * (0.95 - 2.0 / 3.0) + 0.25 * 0.5;
        assert!((error(&two) - want).abs() < 1e-12, "{}", error(&two));
        // The gaps of one bin cancel, those of two do not: 0.6 closes the bin that 0.55 is in, 0.61 opens the next.
        assert!((error(&[(0.55, true), (0.6, false)]) - 0.075).abs() < 1e-12);
        assert!((error(&[(0.55, true), (0.61, false)]) - 0.53).abs() < 1e-12);
        // The ends of the range.
        assert_eq!(error(&[(1.0, true), (0.0, false)]), 0.0);
    }
}
