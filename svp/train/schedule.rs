//! Learning rate: a linear warm-up and a cosine, as the published program steps them (`docs/recipe.md`, "Learning
//! rate"), or steps in place of the cosine.

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Along a cosine to the rate at the end, which began with the first epoch. Each epoch has the value of the one
    /// before it, as in the published program of SVP.
    #[default]
    Cosine,
    /// Along a cosine to the rate at the end, which begins where the warm-up ends, as in VPT's program.
    AfterWarmup,
    /// In two steps: to a tenth at 50 % of the epochs, to a hundredth at 72 %, as AutoVP's program does. The rate at the
    /// end plays no part.
    Steps,
}

/// The shares of the epochs after which [`Decay::Steps`] divides the rate by ten.
const STEPS: [f64; 2] = [0.5, 0.72];

/// A schedule over epochs. Rates are absolute: any scaling by the batch size is already done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Rate at the top of the cosine.
    pub lr: f64,
    /// Rate at the start of the warm-up.
    pub warmup_lr: f64,
    /// Rate at the end of the cosine.
    pub min_lr: f64,
    /// Length of the warm-up in epochs.
    pub warmup_epochs: u32,
    /// Length of the whole schedule in epochs, warm-up included.
    pub epochs: u32,
    /// How the rate falls.
    pub decay: Decay,
}

impl Schedule {
    /// The schedule's value at epoch `t`. The warm-up does not shift the cosine.
    fn at(&self, t: u32) -> f64 {
        if t < self.warmup_epochs {
            self.warmup_lr + f64::from(t) * (self.lr - self.warmup_lr) / f64::from(self.warmup_epochs)
        } else if self.decay == Decay::Steps {
            let passed = STEPS.iter().filter(|&&share| t >= (share * f64::from(self.epochs)) as u32);
            self.lr * 0.1_f64.powi(passed.count() as i32)
        } else if t < self.epochs {
            let before = if self.decay == Decay::AfterWarmup { self.warmup_epochs } else { 0 };
            let share = f64::from(t - before) / f64::from(self.epochs - before);
            let cosine = (std::f64::consts::PI * share).cos();
            self.min_lr + 0.5 * (self.lr - self.min_lr) * (1.0 + cosine)
        } else {
            self.min_lr
        }
    }

    /// The rate of an epoch, counted from 0. The published program of SVP steps after each epoch, so epoch e runs at the
    /// cosine's value of e - 1 and the first two epochs at the warm-up rate.
    pub fn epoch(&self, epoch: u32) -> f64 {
        match epoch {
            _ if self.decay != Decay::Cosine => self.at(epoch),
            0 if self.warmup_epochs == 0 => self.lr,
            0 => self.warmup_lr,
            _ => self.at(epoch - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that the published program's stack prints for a rate of 5e-3 at batch 96.
    #[test]
    fn matches_the_published_values() {
        let s = Schedule {
            lr: 9.375e-4,
            warmup_lr: 1e-5,
            min_lr: 1e-5,
            warmup_epochs: 5,
            epochs: 100,
            decay: Decay::Cosine,
        };
        let published = [
            (0, 1e-5),
            (1, 1e-5),
            (2, 1.955e-4),
            (3, 3.81e-4),
            (4, 5.665e-4),
            (5, 7.52e-4),
            (6, 9.3179046795e-4),
            (7, 9.2928571253e-4),
            (10, 9.1908619673e-4),
            (25, 8.1180920097e-4),
            (50, 4.8831673952e-4),
            (51, 4.7375e-4),
            (75, 1.5629127963e-4),
            (90, 3.7416543397e-5),
            (98, 1.2058138915e-5),
            (99, 1.0915104691e-5),
        ];
        for (epoch, want) in published {
            let got = s.epoch(epoch);
            assert!((got - want).abs() <= 1e-10 * want, "epoch {epoch}: {got} {want}");
        }
    }

    /// What `WarmupCosineSchedule` of VPT's program multiplies its rate by: with 10 epochs of warm-up of 100, e / 10, then
    /// (1 + cos(pi (e - 10) / 90)) / 2.
    #[test]
    fn a_cosine_after_the_warm_up_is_that_of_vpt() {
        let s = Schedule {
            lr: 2.0,
            warmup_lr: 0.0,
            min_lr: 0.0,
            warmup_epochs: 10,
            epochs: 100,
            decay: Decay::AfterWarmup,
        };
        for (epoch, want) in [(0, 0.0), (1, 0.2), (9, 1.8), (10, 2.0), (40, 1.5), (55, 1.0), (70, 0.5)] {
            assert!((s.epoch(epoch) - want).abs() < 1e-12, "epoch {epoch}: {}", s.epoch(epoch));
        }
        assert!((s.epoch(99) - (1.0 + (std::f64::consts::PI * 89.0 / 90.0).cos())).abs() < 1e-12);
        let none = Schedule { warmup_epochs: 0, epochs: 4, ..s };
        assert_eq!(none.epoch(0), 2.0);
    }

    /// The epochs at which PyTorch's `MultiStepLR` with `[int(0.5 n), int(0.72 n)]` and gamma 0.1 changes the rate.
    #[test]
    fn steps_fall_at_half_and_at_72_percent() {
        let steps = Schedule {
            lr: 1.0,
            warmup_lr: 0.0,
            min_lr: 0.5,
            warmup_epochs: 0,
            epochs: 200,
            decay: Decay::Steps,
        };
        for (epoch, want) in [(0, 1.0), (99, 1.0), (100, 0.1), (143, 0.1), (144, 0.01), (199, 0.01)] {
            assert!((steps.epoch(epoch) - want).abs() <= 1e-12, "epoch {epoch}");
        }
        let warmed = Schedule { warmup_epochs: 4, epochs: 10, ..steps };
        let rates: Vec<f64> = (0..10).map(|epoch| (warmed.epoch(epoch) * 1e4).round() / 1e4).collect();
        assert_eq!(rates, [0.0, 0.25, 0.5, 0.75, 1.0, 0.1, 0.1, 0.01, 0.01, 0.01]);
    }
}
