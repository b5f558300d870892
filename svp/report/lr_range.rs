//! The range test of the learning rate, as the file `lr_range.json` of a run folder holds it.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::run_dir::read_file;
use crate::checkpoint::write_atomically;
use crate::{Error, Result};

/// Share of the mean before that the smoothed loss keeps at each step.
const KEPT: f64 = 0.9;

/// What a range test found: the losses of steps at rising rates, and the rate that was chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LrRange {
    /// The chosen rate, at 512 images a step where rates are scaled.
    pub lr: f64,
    /// The rate of each step, in the same unit.
    pub rates: Vec<f64>,
    /// The loss before each step.
    pub losses: Vec<f32>,
}

impl LrRange {
    /// The losses as running means, in which what is not there before the first step has no weight.
    pub fn smoothed(&self) -> Vec<f64> {
        let mut sum = 0.0;
        let mut weight = 0.0;
        let means = self.losses.iter().map(|&loss| {
            sum = KEPT * sum + (1.0 - KEPT) * f64::from(loss);
            weight = KEPT * weight + (1.0 - KEPT);
            sum / weight
        });
        means.collect()
    }

    /// Reads the file of a run folder; `None` where the run's rate was given.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(Self::FILE);
        let Some(text) = read_file(&path)? else { return Ok(None) };
        let range = serde_json::from_slice(&text);
        range.map(Some).map_err(|e| Error::path(&path, format!("is damaged: {e}"), "delete it"))
    }

    /// Writes the file; whole or not at all.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).expect("plain data makes valid JSON");
        write_atomically(&run.join(Self::FILE), |file| file.write_all(&text))
    }

    /// Name of the file.
    pub const FILE: &str = "lr_range.json";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_does_not_lean_towards_zero() {
        let range = LrRange { losses: vec![2.0; 5], ..LrRange::default() };
        assert!(range.smoothed().iter().all(|mean| (mean - 2.0).abs() < 1e-12));
        let range = LrRange { losses: vec![1.0, 3.0], ..range };
        // 0.9 * 0.1 + 0.1 * 3 over 0.9 * 0.1 + 0.1.
        assert!((range.smoothed()[1] - 0.39 / 0.19).abs() < 1e-12);
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(LrRange::read(run.path()).unwrap(), None);
        let range = LrRange { lr: 0.06, rates: vec![1e-3, 1e-2], losses: vec![2.5, 2.25] };
        range.write(run.path()).unwrap();
        assert_eq!(LrRange::read(run.path()).unwrap(), Some(range));
        std::fs::write(run.path().join(LrRange::FILE), "{").unwrap();
        let error = LrRange::read(run.path()).unwrap_err().to_string();
        assert!(error.contains("lr_range.json") && !error.contains('\n'), "{error}");
    }
}
