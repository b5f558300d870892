//! Gaussian noise on pictures that a model is measured on (`docs/recipe.md`, "Noise at test time").

use std::fmt;
use std::str::FromStr;

use engine::Rng;
use serde::{Deserialize, Serialize};

use super::Normalisation;
use crate::error::{Error, Result};
use crate::streams;

/// How noise enters a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseForm {
    /// It takes the place of a share of the picture: `x <- (1 - p) x + p n`.
    #[default]
    Mix,
    /// It is added with the rate as its deviation: `x <- x + p n`.
    Add,
}

impl fmt::Display for NoiseForm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            NoiseForm::Mix => "mix",
            NoiseForm::Add => "add",
        })
    }
}

impl FromStr for NoiseForm {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        [NoiseForm::Mix, NoiseForm::Add]
            .into_iter()
            .find(|form| form.to_string() == text)
            .ok_or_else(|| "noise is mix or add".into())
    }
}

/// Noise at a rate p. Every value of a picture, normalised as the backbone expects it, gets a number n of its own from
/// the standard normal distribution, which is a function of the seed and of the picture's place in its split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PictureNoise {
    /// The rate p, 0 to 1.
    pub rate: f64,
    /// How the noise enters.
    pub form: NoiseForm,
    /// Seed of the noise.
    pub seed: u64,
    /// Mean and deviation of n in the values of the transform: none where these are normalised, or else those by which
    /// the backbone's pictures are, so that the noise is the same in pixels.
    pub scale: Normalisation,
}

impl PictureNoise {
    /// Noise for a transform that ends in `normalised` values, or else in those which `by` would normalise.
    ///
    /// # Errors
    /// A rate out of 0 to 1.
    pub fn new(rate: f64, form: NoiseForm, seed: u64, normalised: bool, by: Normalisation) -> Result<Self> {
        if !(0.0..=1.0).contains(&rate) {
            return Err(Error::input("--noise", format!("{rate} is no rate"), "use 0 to 1"));
        }
        Ok(PictureNoise { rate, form, seed, scale: if normalised { Normalisation::NONE } else { by } })
    }

    /// Changes the values `[3 size size]` of the picture at place `index` of its split.
    pub(crate) fn apply(&self, values: &mut [f32], index: u32) {
        let mut rng = Rng::keyed(self.seed, 0, index, streams::NOISE);
        let kept = match self.form {
            NoiseForm::Mix => 1.0 - self.rate,
            NoiseForm::Add => 1.0,
        };
        // What is added has no mean: the picture keeps its brightness.
        let centre = f64::from(u8::from(self.form == NoiseForm::Mix));
        let plane = values.len() / 3;
        for (c, values) in values.chunks_exact_mut(plane).enumerate() {
            let (mean, std) = (f64::from(self.scale.mean[c]), f64::from(self.scale.std[c]));
            for value in values {
                let noise = centre * mean + std * rng.normal();
                *value = (kept * f64::from(*value) + self.rate * noise) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 64;

    fn noise(rate: f64, form: NoiseForm, seed: u64) -> PictureNoise {
        PictureNoise::new(rate, form, seed, true, Normalisation::IMAGENET).unwrap()
    }

    fn noised(noise: PictureNoise, index: u32, of: f32) -> Vec<f32> {
        let mut values = vec![of; 3 * SIDE * SIDE];
        noise.apply(&mut values, index);
        values
    }

    #[test]
    fn both_forms_have_their_mean_and_deviation() {
        for (form, mean) in [(NoiseForm::Mix, 0.75 * 2.0), (NoiseForm::Add, 2.0)] {
            let values = noised(noise(0.25, form, 3), 5, 2.0);
            let n = values.len() as f64;
            let found = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let squares = values.iter().map(|&x| (f64::from(x) - found).powi(2)).sum::<f64>() / n;
            // Of 12,288 values: four standard errors of a mean and of a deviation.
            assert!((found - mean).abs() < 4.0 * 0.25 / n.sqrt(), "{form}: {found}");
            assert!((squares.sqrt() - 0.25).abs() < 4.0 * 0.25 / (2.0 * n).sqrt(), "{form}: {squares}");
        }
        assert_eq!(noised(noise(0.0, NoiseForm::Mix, 3), 5, 2.0), vec![2.0; 3 * SIDE * SIDE]);
    }

    /// Whatever is drawn before and after, a picture gets the noise of its seed and its place.
    #[test]
    fn noise_is_a_function_of_seed_and_place() {
        let of = |seed, index| noised(noise(0.5, NoiseForm::Mix, seed), index, 0.0);
        assert_eq!(of(1, 7), of(1, 7));
        assert_ne!(of(1, 7), of(1, 8));
        assert_ne!(of(1, 7), of(2, 7));
    }

    /// A transform that does not normalise gives the same pixels, which the method's program normalises later.
    #[test]
    fn noise_is_the_same_in_pixels_whether_or_not_they_are_normalised() {
        let by = Normalisation::IMAGENET;
        for form in [NoiseForm::Mix, NoiseForm::Add] {
            let plain = PictureNoise::new(0.3, form, 9, false, by).unwrap();
            let [normalised, plain] =
                [(noise(0.3, form, 9), true), (plain, false)].map(|(noise, normalised)| {
                    let mut values: Vec<f32> = (0..12).map(|i| i as f32 / 12.0).collect();
                    let scale = |values: &mut Vec<f32>, to: fn(f32, f32, f32) -> f32| {
                        let channel = |i: usize| (by.mean[i / 4], by.std[i / 4]);
                        values
                            .iter_mut()
                            .enumerate()
                            .for_each(|(i, v)| *v = to(*v, channel(i).0, channel(i).1));
                    };
                    if normalised {
                        scale(&mut values, |v, mean, std| (v - mean) / std);
                    }
                    noise.apply(&mut values, 2);
                    if normalised {
                        scale(&mut values, |v, mean, std| v * std + mean);
                    }
                    values
                });
            let apart = normalised.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-6, "{form}: {apart}");
        }
    }

    #[test]
    fn a_rate_is_a_share() {
        for rate in [-0.1, 1.1, f64::NAN] {
            let error = PictureNoise::new(rate, NoiseForm::Mix, 0, true, Normalisation::HALF).unwrap_err();
            assert!(error.to_string().contains("--noise"), "{error}");
        }
        assert_eq!("add".parse(), Ok(NoiseForm::Add));
        assert!("other".parse::<NoiseForm>().is_err());
    }
}
