//! A picture to draw on: rectangles, smooth lines and dots, text.

mod text;

use image::{Rgb, RgbImage};

use super::encode::png;

pub use text::{TEXT_HEIGHT, shortened, text_width};

/// Red, green, blue.
pub type Color = [u8; 3];
/// A position in pixels from the top left corner; pixel `(i, j)` has its centre at `(i + 0.5, j + 0.5)`.
pub type Point = (f32, f32);

/// An RGB picture under construction.
pub struct Canvas {
    image: RgbImage,
}

impl Canvas {
    /// A picture of one colour, its size in pixels.
    pub fn new(width: u32, height: u32, color: Color) -> Self {
        Self { image: RgbImage::from_pixel(width, height, Rgb(color)) }
    }

    /// The picture as it is drawn now.
    #[cfg(test)]
    pub fn into_image(self) -> RgbImage {
        self.image
    }

    /// The picture as a PNG file.
    pub fn into_png(self) -> Vec<u8> {
        png(self.image)
    }

    /// Fills a rectangle given by its left, top, width and height.
    pub fn fill(&mut self, left: u32, top: u32, width: u32, height: u32, color: Color) {
        for y in top..(top + height).min(self.image.height()) {
            for x in left..(left + width).min(self.image.width()) {
                self.image.put_pixel(x, y, Rgb(color));
            }
        }
    }

    /// Copies a picture, its top left corner to the given pixel; what does not fit is cut off.
    pub fn picture(&mut self, left: u32, top: u32, picture: &RgbImage) {
        image::imageops::replace(&mut self.image, picture, left.into(), top.into());
    }

    /// Draws a line of some width through points, and a dot if there is only one.
    ///
    /// Each pixel takes the largest cover of any segment, so that joints are not painted twice.
    pub fn line(&mut self, points: &[Point], width: f32, color: Color) {
        let size = self.image.width() as usize * self.image.height() as usize;
        let mut cover = vec![0.0; size];
        if let &[point] = points {
            self.cover(&mut cover, point, point, width / 2.0);
        }
        for pair in points.windows(2) {
            self.cover(&mut cover, pair[0], pair[1], width / 2.0);
        }
        for (pixel, cover) in self.image.pixels_mut().zip(cover).filter(|(_, cover)| *cover > 0.0) {
            blend(pixel, color, cover);
        }
    }

    /// Draws a filled circle.
    pub fn dot(&mut self, centre: Point, radius: f32, color: Color) {
        self.line(&[centre], 2.0 * radius, color);
    }

    /// Raises the cover of the pixels within `radius` of the segment from `a` to `b`.
    fn cover(&self, cover: &mut [f32], a: Point, b: Point, radius: f32) {
        let (width, height) = self.image.dimensions();
        let reach = radius + 1.0;
        // Casts of floats saturate, so places outside of the picture are cut off at its edges.
        let range = |p: f32, q: f32, end: u32| {
            (p.min(q) - reach).floor() as u32..((p.max(q) + reach).ceil() as u32).min(end)
        };
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length_squared = dx * dx + dy * dy;
        for y in range(a.1, b.1, height) {
            for x in range(a.0, b.0, width) {
                let (px, py) = (x as f32 + 0.5 - a.0, y as f32 + 0.5 - a.1);
                let along = if length_squared > 0.0 {
                    ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let distance = (px - along * dx).hypot(py - along * dy);
                let pixel = &mut cover[(y * width + x) as usize];
                *pixel = pixel.max((radius + 0.5 - distance).clamp(0.0, 1.0));
            }
        }
    }

    /// Writes text with the top left corner of its capitals at the given pixel; what does not fit is cut off.
    pub fn text(&mut self, left: u32, top: u32, text: &str, color: Color) {
        for glyph in text::outlines(text) {
            let corner = glyph.px_bounds().min;
            let at = |start: u32, offset: f32, pixel: u32| {
                u32::try_from(i64::from(start) + offset as i64 + i64::from(pixel)).ok()
            };
            glyph.draw(|x, y, cover| {
                if let (Some(x), Some(y)) = (at(left, corner.x, x), at(top, corner.y, y))
                    && let Some(pixel) = self.image.get_pixel_mut_checked(x, y)
                {
                    blend(pixel, color, cover);
                }
            });
        }
    }
}

/// Lays `cover` (0 to 1) of a colour over a pixel.
fn blend(pixel: &mut Rgb<u8>, color: Color, cover: f32) {
    for (channel, new) in pixel.0.iter_mut().zip(color) {
        let old = f32::from(*channel);
        *channel = (old + cover * (f32::from(new) - old)).round() as u8;
    }
}

#[cfg(test)]
mod tests;
