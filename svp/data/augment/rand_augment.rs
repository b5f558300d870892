//! RandAugment (Cubuk et al. 2020) as timm's `rand-...` policies make it (`docs/recipe.md`).

use std::fmt;
use std::str::FromStr;

use engine::Rng;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{affine, enhance, levels};
use crate::error::{Error, Result};

/// The largest magnitude.
const MOST: f64 = 10.0;
/// The probability with which a drawn change is made.
const MADE: f64 = 0.5;

/// A policy: `layers` times, one of fifteen changes is drawn and made with probability 1/2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RandAugment {
    /// Strength of the changes, 0 to 10.
    pub magnitude: f64,
    /// Standard deviation of the normal distribution around `magnitude` that the strength of each change is drawn from.
    pub deviation: f64,
    /// Number of changes that are drawn for a picture.
    pub layers: u32,
    /// Whether a larger magnitude means more of every change. Without it, some changes weaken as it grows.
    pub increasing: bool,
}

impl FromStr for RandAugment {
    type Err = Error;

    /// Reads timm's notation: `rand`, then `m`, `mstd`, `n` and `inc` with their numbers, separated by `-`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |what: String| {
            Error::input(
                "--auto-augment",
                what,
                "write it like rand-m9-mstd0.5-inc1 (keys m, mstd, n, inc), or none",
            )
        };
        let mut parts = text.split('-');
        if parts.next() != Some("rand") {
            return Err(wrong(format!("{text:?} is not a rand- policy")));
        }
        let mut policy = RandAugment { magnitude: MOST, deviation: 0.0, layers: 2, increasing: false };
        for part in parts {
            let digits = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
            let (key, number) = part.split_at(digits);
            let number: f64 = number.parse().map_err(|_| wrong(format!("{part:?} has no number")))?;
            let (whole, most) = match key {
                "m" => (false, MOST),
                "mstd" => (false, 100.0),
                "n" => (true, 15.0),
                "inc" => (true, 1.0),
                _ => return Err(wrong(format!("{part:?} has an unknown key"))),
            };
            if !(number <= most) || whole && number.fract() != 0.0 {
                return Err(wrong(format!("{part:?} is out of range (at most {most})")));
            }
            match key {
                "m" => policy.magnitude = number,
                "mstd" => policy.deviation = number,
                "n" => policy.layers = number as u32,
                _ => policy.increasing = number == 1.0,
            }
        }
        Ok(policy)
    }
}

impl fmt::Display for RandAugment {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let RandAugment { magnitude, deviation, layers, increasing } = self;
        write!(f, "rand-m{magnitude}")?;
        if *deviation != 0.0 {
            write!(f, "-mstd{deviation}")?;
        }
        if *layers != 2 {
            write!(f, "-n{layers}")?;
        }
        if *increasing { write!(f, "-inc1") } else { Ok(()) }
    }
}

impl TryFrom<String> for RandAugment {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<RandAugment> for String {
    fn from(policy: RandAugment) -> String {
        policy.to_string()
    }
}

/// A change of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Stretches each channel.
    AutoContrast,
    /// Evens out the histogram of each channel.
    Equalize,
    /// Inverts all values.
    Invert,
    /// Turns by so many degrees, counter-clockwise.
    Rotate(f64),
    /// Keeps so many bits.
    Posterize(u32),
    /// Inverts the values from this one on.
    Solarize(u32),
    /// Adds this to the values below 128.
    SolarizeAdd(u8),
    /// Changes the saturation by this factor.
    Colour(f64),
    /// Changes the contrast by this factor.
    Contrast(f64),
    /// Changes the brightness by this factor.
    Brightness(f64),
    /// Changes the sharpness by this factor.
    Sharpness(f64),
    /// Moves rows by so many pixels a row.
    ShearX(f64),
    /// Moves columns by so many pixels a column.
    ShearY(f64),
    /// Moves left by this share of the width.
    TranslateX(f64),
    /// Moves up by this share of the height.
    TranslateY(f64),
}

/// Number of different changes.
const KINDS: u32 = 15;

impl RandAugment {
    /// Draws the changes of one picture, in order.
    pub fn draw(&self, rng: &mut Rng) -> Vec<Change> {
        (0..self.layers).filter_map(|_| self.draw_one(rng)).collect()
    }

    fn draw_one(&self, rng: &mut Rng) -> Option<Change> {
        let kind = rng.below(KINDS);
        if !rng.chance(MADE) {
            return None;
        }
        let magnitude = (self.magnitude + self.deviation * rng.normal()).clamp(0.0, MOST);
        let negative = rng.chance(0.5);
        Some(self.change(kind, magnitude / MOST, if negative { -1.0 } else { 1.0 }))
    }

    /// Change number `kind` of the published list, with a strength of 0 to 1. `sign` is the direction of changes that
    /// have one.
    fn change(&self, kind: u32, strength: f64, sign: f64) -> Change {
        let (bits, threshold) = ((4.0 * strength) as u32, (256.0 * strength) as u32);
        let (bits, threshold, factor) = if self.increasing {
            (4 - bits, 256 - threshold, 1.0 + sign * 0.9 * strength)
        } else {
            (bits, threshold, 0.1 + 1.8 * strength)
        };
        match kind {
            0 => Change::AutoContrast,
            1 => Change::Equalize,
            2 => Change::Invert,
            3 => Change::Rotate(sign * 30.0 * strength),
            4 => Change::Posterize(bits),
            5 => Change::Solarize(threshold),
            6 => Change::SolarizeAdd((110.0 * strength) as u8),
            7 => Change::Colour(factor),
            8 => Change::Contrast(factor),
            9 => Change::Brightness(factor),
            10 => Change::Sharpness(factor),
            11 => Change::ShearX(sign * 0.3 * strength),
            12 => Change::ShearY(sign * 0.3 * strength),
            13 => Change::TranslateX(sign * 0.45 * strength),
            _ => Change::TranslateY(sign * 0.45 * strength),
        }
    }
}

impl Change {
    /// Makes the change. The size of the picture stays the same.
    pub fn apply(self, image: &mut RgbImage) {
        let (width, height) = image.dimensions();
        let share = |share: f64, side: u32| share * f64::from(side);
        match self {
            Change::AutoContrast => levels::auto_contrast(image),
            Change::Equalize => levels::equalize(image),
            Change::Invert => levels::invert(image),
            Change::Rotate(degrees) => affine::transform(image, affine::rotate(degrees, width, height)),
            Change::Posterize(bits) => levels::posterize(image, bits),
            Change::Solarize(threshold) => levels::solarize(image, threshold),
            Change::SolarizeAdd(add) => levels::solarize_add(image, add),
            Change::Colour(factor) => enhance::colour(image, factor),
            Change::Contrast(factor) => enhance::contrast(image, factor),
            Change::Brightness(factor) => enhance::brightness(image, factor),
            Change::Sharpness(factor) => enhance::sharpness(image, factor),
            Change::ShearX(k) => affine::transform(image, affine::shear_x(k)),
            Change::ShearY(k) => affine::transform(image, affine::shear_y(k)),
            Change::TranslateX(t) => affine::transform(image, affine::translate(share(t, width), 0.0)),
            Change::TranslateY(t) => affine::transform(image, affine::translate(0.0, share(t, height))),
        }
    }
}
