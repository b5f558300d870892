//! Blends of a picture with a lesser version of itself, as Pillow's `ImageEnhance` makes them. A factor of 1 changes
//! nothing, 0 gives the lesser picture, and more than 1 moves away from it.

use engine::Rng;
use image::RgbImage;

use super::levels::{self, colours};

const CHANNELS: usize = 3;

/// Pillow's blend of two values: computed in f32, clamped and truncated.
#[inline(always)]
fn blend(lesser: u8, v: u8, factor: f32) -> u8 {
    (f32::from(lesser) + factor * (f32::from(v) - f32::from(lesser))) as u8
}

/// Pillow's luma of a pixel.
#[inline(always)]
fn grey(pixel: [u8; CHANNELS]) -> u8 {
    let [r, g, b] = pixel.map(u32::from);
    ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
}

/// Blends with black.
pub fn brightness(image: &mut RgbImage, factor: f64) {
    levels::map(image, |v| blend(0, v, factor as f32));
}

/// Blends with the mean of the grey picture.
pub fn contrast(image: &mut RgbImage, factor: f64) {
    let sum: u64 = colours(image).iter().map(|&pixel| u64::from(grey(pixel))).sum();
    let mean = (sum as f64 / colours(image).len() as f64 + 0.5) as u8;
    levels::map(image, |v| blend(mean, v, factor as f32));
}

/// Blends with the grey picture.
pub fn colour(image: &mut RgbImage, factor: f64) {
    for pixel in colours(image) {
        let grey = grey(*pixel);
        *pixel = pixel.map(|v| blend(grey, v, factor as f32));
    }
}

/// Blends with the picture smoothed by a 3 x 3 kernel of ones with a five in the middle. The outermost pixels stay as
/// they are.
pub fn sharpness(image: &mut RgbImage, factor: f64) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width < 3 || height < 3 {
        return;
    }
    let stride = CHANNELS * width;
    let source = image.as_raw().clone();
    for (y, out) in image.chunks_exact_mut(stride).enumerate().skip(1).take(height - 2) {
        sharpen_row(&source[(y - 1) * stride..][..3 * stride], stride, factor as f32, out);
    }
}

engine::simd_fn! {
    /// Sharpens the middle one of three rows, except for its first and last pixel.
    fn sharpen_row<S>(_simd, rows: &[u8], stride: usize, factor: f32, out: &mut [u8]) {
        let (above, rest) = rows.split_at(stride);
        let (row, below) = rest.split_at(stride);
        for i in CHANNELS..stride - CHANNELS {
            let mut sum = 4 * u32::from(row[i]);
            for line in [above, row, below] {
                sum += u32::from(line[i - CHANNELS]) + u32::from(line[i]) + u32::from(line[i + CHANNELS]);
            }
            // This is sum / 13 to the nearest number; halves do not occur.
            out[i] = blend(((sum + 6) / 13) as u8, row[i], factor);
        }
    }
}

/// Changes brightness, contrast and saturation in random order by factors from 1 - `share` to 1 + `share`, as
/// torchvision's `ColorJitter` does.
pub fn jitter(image: &mut RgbImage, share: f64, rng: &mut Rng) {
    let mut changes: [fn(&mut RgbImage, f64); 3] = [brightness, contrast, colour];
    rng.shuffle(&mut changes);
    for change in changes {
        change(image, rng.range((1.0 - share).max(0.0), 1.0 + share));
    }
}
