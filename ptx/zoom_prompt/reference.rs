//! The zoomed and prompted images in plain loops, pixel by pixel, from padded copies of the images.

use num_traits::Float;

use crate::scalar::sigmoid;

/// What does not change with the values: sizes, and mean and deviation of each channel.
pub struct Setting<'a> {
    /// Number of images.
    pub b: usize,
    /// Pixels of a side of an image, and of the output.
    pub sides: [usize; 2],
    /// Of each channel.
    pub mean: &'a [f32],
    /// Of each channel.
    pub deviation: &'a [f32],
}

fn number<T: Float>(x: f64) -> T {
    T::from(x).expect("a float takes all")
}

/// The number of the channel's pixel in an image of `side` pixels.
fn place(side: usize, channel: usize, row: usize, column: usize) -> usize {
    (channel * side + row) * side + column
}

impl Setting<'_> {
    /// Images amid zeros, one plane `[S S]` for each channel of each.
    fn padded<T: Float>(&self, images: &[T]) -> Vec<T> {
        let [s, size] = self.sides;
        // What is left over when the floor of the half is right and below.
        let before = (size - s) - (size - s) / 2;
        let mut padded = vec![T::zero(); self.b * 3 * size * size];
        for plane in 0..self.b * 3 {
            for row in 0..s {
                for column in 0..s {
                    padded[place(size, plane, before + row, before + column)] =
                        images[place(s, plane, row, column)];
                }
            }
        }
        padded
    }

    /// Whether a pixel has the prompt. Single precision decides how large the hole is.
    fn prompted<T: Float>(&self, scale: T, row: usize, column: usize) -> bool {
        let [s, size] = self.sides;
        let scale = scale.to_f32().expect("a float");
        let hole = ((s as f32 * scale).trunc() as usize).min(size);
        let first = (size - hole) / 2;
        let inside = |i: usize| i >= first && i < first + hole;
        !(inside(row) && inside(column))
    }

    /// The pixel of a padded plane, zero outside.
    fn pixel<T: Float>(&self, padded: &[T], plane: usize, row: T, column: T) -> T {
        let size = self.sides[1];
        match (row.to_usize(), column.to_usize()) {
            (Some(i), Some(j)) if row >= T::zero() && column >= T::zero() && i < size && j < size => {
                padded[place(size, plane, i, j)]
            }
            _ => T::zero(),
        }
    }

    /// Where the zoom reads for a row or column.
    fn source<T: Float>(&self, scale: T, i: usize) -> T {
        let centre = number::<T>((self.sides[1] as f64 - 1.0) / 2.0);
        (number::<T>(i as f64) - centre) / scale + centre
    }

    /// The padded plane at a position, and its slopes there along the rows' numbers and the columns' numbers.
    fn sampled<T: Float>(&self, padded: &[T], plane: usize, y: T, x: T) -> (T, T, T) {
        let (top, left) = (y.floor(), x.floor());
        let (mut value, mut along_y, mut along_x) = (T::zero(), T::zero(), T::zero());
        let one = T::one();
        for (row, of_y, slope_y) in [(top, one - (y - top), -one), (top + one, y - top, one)] {
            for (column, of_x, slope_x) in [(left, one - (x - left), -one), (left + one, x - left, one)] {
                let pixel = self.pixel(padded, plane, row, column);
                value = value + of_y * of_x * pixel;
                along_y = along_y + slope_y * of_x * pixel;
                along_x = along_x + of_y * slope_x * pixel;
            }
        }
        (value, along_y, along_x)
    }

    /// Calls `visit(image, channel, row, column)` for every pixel of the output.
    fn each(&self, mut visit: impl FnMut(usize, usize, usize, usize)) {
        for image in 0..self.b {
            for channel in 0..3 {
                for row in 0..self.sides[1] {
                    for column in 0..self.sides[1] {
                        visit(image, channel, row, column);
                    }
                }
            }
        }
    }
}

/// `y [b 3 S S]`
pub fn forward<T: Float>(of: &Setting, images: &[T], delta: &[T], scale: T) -> Vec<T> {
    let (padded, mut y) = (of.padded(images), vec![]);
    of.each(|image, channel, row, column| {
        let (from_row, from_column) = (of.source(scale, row), of.source(scale, column));
        let mut pixel = of.sampled(&padded, 3 * image + channel, from_row, from_column).0;
        if of.prompted(scale, row, column) {
            pixel = pixel + sigmoid(delta[place(of.sides[1], channel, row, column)]);
        }
        let [mean, deviation] = [of.mean, of.deviation].map(|values| number::<T>(values[channel].into()));
        y.push((pixel - mean) / deviation);
    });
    y
}

/// The gradients of delta and of the scale.
pub fn backward<T: Float>(of: &Setting, images: &[T], delta: &[T], scale: T, dy: &[T]) -> (Vec<T>, T) {
    let size = of.sides[1];
    let centre = number::<T>((size as f64 - 1.0) / 2.0);
    let (padded, mut ddelta, mut dscale) = (of.padded(images), vec![T::zero(); delta.len()], T::zero());
    of.each(|image, channel, row, column| {
        let plane = 3 * image + channel;
        let dpixel = dy[place(size, plane, row, column)] / number(of.deviation[channel].into());
        if of.prompted(scale, row, column) {
            let at = place(size, channel, row, column);
            let s = sigmoid(delta[at]);
            ddelta[at] = ddelta[at] + dpixel * s * (T::one() - s);
        }
        let (from_row, from_column) = (of.source(scale, row), of.source(scale, column));
        let (_, along_y, along_x) = of.sampled(&padded, plane, from_row, from_column);
        // d((i - c) / scale + c) / dscale
        let moved = |i: usize| -(number::<T>(i as f64) - centre) / (scale * scale);
        dscale = dscale + dpixel * (along_y * moved(row) + along_x * moved(column));
    });
    (ddelta, dscale)
}
