//! Changes of each channel by a table of its values, as Pillow's `ImageOps` and `Image.point` make them.

use image::RgbImage;

/// The new value of every value of a channel.
pub type Table = [u8; 256];

/// Red, green and blue of every pixel.
pub(super) fn colours(image: &mut RgbImage) -> &mut [[u8; 3]] {
    image.as_chunks_mut().0
}

/// Replaces every byte by what the table of its channel says.
fn look_up(image: &mut RgbImage, [red, green, blue]: &[Table; 3]) {
    for pixel in colours(image) {
        *pixel = [red[usize::from(pixel[0])], green[usize::from(pixel[1])], blue[usize::from(pixel[2])]];
    }
}

/// Changes the three channels in the same way.
pub(super) fn map(image: &mut RgbImage, value: impl Fn(u8) -> u8) {
    let table: Table = std::array::from_fn(|v| value(v as u8));
    look_up(image, &[table; 3]);
}

/// Replaces every value v by 255 - v.
pub fn invert(image: &mut RgbImage) {
    map(image, |v| 255 - v);
}

/// Keeps the highest `bits` of every value, 0 to 8 of them.
pub fn posterize(image: &mut RgbImage, bits: u32) {
    let mask = !(0xFFu32 >> bits) as u8;
    map(image, |v| v & mask);
}

/// Inverts the values from `threshold` on, which is 0 to 256.
pub fn solarize(image: &mut RgbImage, threshold: u32) {
    map(image, |v| if u32::from(v) < threshold { v } else { 255 - v });
}

/// Adds to the values below 128.
pub fn solarize_add(image: &mut RgbImage, add: u8) {
    map(image, |v| if v < 128 { v.saturating_add(add) } else { v });
}

/// Stretches the values of each channel to 0..=255. A channel of one value stays as it is.
pub fn auto_contrast(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| {
        let used = |count: &u32| *count > 0;
        let low = histogram.iter().position(used).unwrap_or(0);
        let high = histogram.iter().rposition(used).unwrap_or(0);
        std::array::from_fn(|v| {
            if high <= low {
                return v as u8;
            }
            let scale = 255.0 / (high - low) as f64;
            (v as f64 * scale - low as f64 * scale) as u8
        })
    });
    look_up(image, &tables);
}

/// Evens out the histogram of each channel. A channel of one value stays as it is.
pub fn equalize(image: &mut RgbImage) {
    let tables = histograms(image).map(|histogram| {
        let last = histogram.iter().rposition(|&count| count > 0).unwrap_or(0);
        let step = (histogram.iter().sum::<u32>() - histogram[last]) / 255;
        let mut sum = step / 2;
        std::array::from_fn(|v| {
            if step == 0 {
                return v as u8;
            }
            let level = (sum / step).min(255) as u8;
            sum += histogram[v];
            level
        })
    });
    look_up(image, &tables);
}

/// How often each value occurs in each channel.
fn histograms(image: &RgbImage) -> [[u32; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.as_raw().as_chunks::<3>().0 {
        for (counts, &v) in counts.iter_mut().zip(pixel) {
            counts[usize::from(v)] += 1;
        }
    }
    counts
}
