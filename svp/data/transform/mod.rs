//! From a decoded picture to the normalised input of a model, as the published program does it (`docs/recipe.md`).

mod noise;

use engine::Rng;
use image::{RgbImage, imageops};

use crate::augment::{Augment, erase};
use crate::resize::{Rect, resize, square};

pub use noise::{NoiseForm, PictureNoise};

/// Input sizes up to this one, in pixels a side, are for small pictures such as CIFAR's. In evaluation these are not
/// enlarged before the crop; in training, a picture that has the size already is padded and shifted.
const SMALL: u32 = 32;
/// Border that is added to each side of small pictures in training, in pixels.
const PAD: u32 = 4;

/// How the channels red, green and blue are normalised: a byte v becomes (v / 255 - mean) / std. It belongs to the
/// backbone, which expects the pictures as it was pre-trained on them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Mean of each channel, in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
}

impl Normalisation {
    /// Mean and standard deviation of ImageNet.
    pub const IMAGENET: Self = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    /// One half for both, which maps 0..=1 to -1..=1.
    pub const HALF: Self = Normalisation { mean: [0.5; 3], std: [0.5; 3] };
    /// None: values stay in 0..=1.
    pub const NONE: Self = Normalisation { mean: [0.0; 3], std: [1.0; 3] };

    /// The normalised value of every byte in each channel.
    fn tables(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|c| std::array::from_fn(|v| (v as f32 / 255.0 - self.mean[c]) / self.std[c]))
    }
}

/// How a picture is brought to the input size where it is not changed at random.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fit {
    /// The shorter side is resized to the input size over this ratio, 1 for inputs of up to 32 pixels, and the centre is
    /// cut out.
    Centre(f64),
    /// The whole picture is resized to a square by [`square`], in floats.
    Square {
        /// Whether the kernel widens where the picture shrinks.
        antialias: bool,
    },
}

/// What happens to a picture between its file and the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform {
    /// Input size of the model in pixels a side.
    pub size: u32,
    /// How channels are normalised at the end.
    pub normalisation: Normalisation,
    /// The random changes of training; `None` is the evaluation transform.
    pub augment: Option<Augment>,
    /// How the picture is brought to `size` without random changes.
    pub fit: Fit,
}

impl Transform {
    /// The evaluation transform with the published crop ratio 0.875.
    pub fn eval(size: u32, normalisation: Normalisation) -> Self {
        Transform { size, normalisation, augment: None, fit: Fit::Centre(0.875) }
    }

    /// The training transform.
    pub fn train(size: u32, normalisation: Normalisation, augment: Augment) -> Self {
        Transform { augment: Some(augment), ..Transform::eval(size, normalisation) }
    }

    /// What becomes of a picture in evaluation before it is normalised, for people who do the same elsewhere.
    pub fn in_words(&self) -> String {
        let size = self.size;
        match self.fit {
            Fit::Centre(ratio) => {
                let side = self.shorter_side(ratio);
                format!(
                    "the shorter side resized to {side} pixels, bicubic, and the centre {size} x {size} cut out"
                )
            }
            Fit::Square { antialias } => {
                let how = if antialias { "with" } else { "without" };
                format!(
                    "the whole picture resized to {size} x {size}, bilinear, {how} antialiasing, in floats"
                )
            }
        }
    }

    /// Number of values of one transformed image: 3 x size x size.
    pub fn values(&self) -> usize {
        3 * self.size as usize * self.size as usize
    }

    /// Transforms one picture and writes it to `out`, normalised, as `[3 size size]`. All random numbers come from `rng`.
    ///
    /// # Panics
    /// When `out` does not have [`Transform::values`] values.
    pub fn apply(&self, image: &RgbImage, rng: &mut Rng, out: &mut [f32]) {
        assert_eq!(out.len(), self.values(), "one image of {0}x{0}", self.size);
        if let (None, Fit::Square { antialias }) = (self.augment, self.fit) {
            return squared(
                image,
                self.size as usize,
                antialias,
                |c, v| (v - self.normalisation.mean[c]) / self.normalisation.std[c],
                out,
            );
        }
        normalise(&self.pixels(image, rng), &self.normalisation, out);
        if let Some(augment) = &self.augment {
            erase::erase(out, self.size as usize, augment.erase, rng);
        }
    }

    /// The 8-bit picture of `size` x `size` pixels, before it is normalised and erased.
    pub fn pixels(&self, image: &RgbImage, rng: &mut Rng) -> RgbImage {
        let Some(augment) = self.augment else {
            return match self.fit {
                Fit::Centre(ratio) => self.centre(image, ratio),
                Fit::Square { antialias } => self.square(image, antialias),
            };
        };
        let ready = image.width() == self.size && image.height() == self.size;
        let mut out = if self.size <= SMALL && ready {
            shifted(image, rng)
        } else {
            let source = random_crop(image.width(), image.height(), augment.scale_min, rng);
            let whole = Rect { x: 0, y: 0, width: self.size, height: self.size };
            resize(image, source, (self.size, self.size), whole)
        };
        if augment.flip && rng.chance(0.5) {
            imageops::flip_horizontal_in_place(&mut out);
        }
        augment.change(&mut out, rng);
        out
    }

    /// The whole picture as a square, rounded to bytes.
    fn square(&self, image: &RgbImage, antialias: bool) -> RgbImage {
        let (side, mut values) = (self.size as usize, vec![0.0; self.values()]);
        squared(image, side, antialias, |_, v| 255.0 * v, &mut values);
        RgbImage::from_fn(self.size, self.size, |x, y| {
            let at = y as usize * side + x as usize;
            image::Rgb([0, 1, 2].map(|c| values[c * side * side + at].round() as u8))
        })
    }

    /// The shorter side before the centre is cut out: `size / ratio` pixels, or `size` where that is at most 32.
    fn shorter_side(&self, ratio: f64) -> u32 {
        let ratio = if self.size <= SMALL { 1.0 } else { ratio };
        (f64::from(self.size) / ratio) as u32
    }

    /// Resizes the shorter side and cuts out the centre.
    fn centre(&self, image: &RgbImage, ratio: f64) -> RgbImage {
        let (w, h) = (image.width(), image.height());
        let short = self.shorter_side(ratio);
        let long = |long: u32, by: u32| (u64::from(short) * u64::from(long) / u64::from(by)) as u32;
        let to = if w <= h { (short, long(h, w)) } else { (long(w, h), short) };
        let at = |len: u32| (f64::from(len - self.size) / 2.0).round_ties_even() as u32;
        let window = Rect { x: at(to.0), y: at(to.1), width: self.size, height: self.size };
        resize(image, Rect::of(image), to, window)
    }
}

/// Adds a black border and cuts out a random part of the old size.
fn shifted(image: &RgbImage, rng: &mut Rng) -> RgbImage {
    let (w, h) = image.dimensions();
    let mut out = RgbImage::new(w, h);
    let mut shift = || i64::from(rng.below(2 * PAD + 1)) - i64::from(PAD);
    let (x, y) = (shift(), shift());
    imageops::replace(&mut out, image, x, y);
    out
}

/// The part of a `width` x `height` picture that a random resized crop keeps. Area and aspect ratio are drawn up to ten
/// times until the part fits; failing that, it is the largest centred one with an aspect ratio between 3/4 and 4/3.
fn random_crop(width: u32, height: u32, scale_min: f64, rng: &mut Rng) -> Rect {
    const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
    let (w, h) = (f64::from(width), f64::from(height));
    for _ in 0..10 {
        let area = rng.range(scale_min, 1.0) * w * h;
        let ratio = rng.range(RATIO.0.ln(), RATIO.1.ln()).exp();
        let cut = |side: f64| side.sqrt().round_ties_even() as u32;
        let (cw, ch) = (cut(area * ratio), cut(area / ratio));
        if (1..=width).contains(&cw) && (1..=height).contains(&ch) {
            let (y, x) = (rng.below(height - ch + 1), rng.below(width - cw + 1));
            return Rect { x, y, width: cw, height: ch };
        }
    }
    let narrow = |side: f64| (side.round_ties_even() as u32).max(1);
    let (cw, ch) = match w / h {
        r if r < RATIO.0 => (width, narrow(w / RATIO.0)),
        r if r > RATIO.1 => (narrow(h * RATIO.1), height),
        _ => (width, height),
    };
    Rect { x: (width - cw) / 2, y: (height - ch) / 2, width: cw, height: ch }
}

/// Writes the whole picture as a square, `[3 side side]`: `to(c, v)` of every value v in 0..=1 of channel c.
fn squared(image: &RgbImage, side: usize, antialias: bool, to: impl Fn(usize, f32) -> f32, out: &mut [f32]) {
    let size = [image.height(), image.width()].map(|length| length as usize);
    for (c, out) in out.chunks_exact_mut(side * side).enumerate() {
        let plane: Vec<f32> = image.pixels().map(|pixel| f32::from(pixel[c]) / 255.0).collect();
        let values = square(&plane, size, side, antialias);
        out.iter_mut().zip(values).for_each(|(out, value)| *out = to(c, value));
    }
}

/// Writes interleaved bytes as normalised planes.
fn normalise(image: &RgbImage, by: &Normalisation, out: &mut [f32]) {
    let (red, rest) = out.split_at_mut(out.len() / 3);
    let (green, blue) = rest.split_at_mut(rest.len() / 2);
    let [reds, greens, blues] = by.tables();
    let pixels = image.as_raw().as_chunks::<3>().0;
    for (((&[r, g, b], red), green), blue) in pixels.iter().zip(red).zip(green).zip(blue) {
        *red = reds[usize::from(r)];
        *green = greens[usize::from(g)];
        *blue = blues[usize::from(b)];
    }
}

#[cfg(test)]
mod tests;
