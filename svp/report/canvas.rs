//! A picture to draw on: rectangles, anti-aliased lines and dots, text.

use image::{Rgb, RgbImage};

use super::font;

/// Red, green, blue.
pub type Color = [u8; 3];
/// A place in pixels from the top left; pixel `(i, j)` has its centre at `(i + 0.5, j + 0.5)`.
pub type Point = (f32, f32);

/// Pixels of the picture for one of the font, both ways.
const SCALE: u32 = 2;
/// From one character to the next: its columns and one of space.
pub const ADVANCE: u32 = (font::WIDTH as u32 + 1) * SCALE;
/// Height of a capital letter.
pub const TEXT_HEIGHT: u32 = 7 * SCALE;

pub struct Canvas {
    image: RgbImage,
}

impl Canvas {
    pub fn new(width: u32, height: u32, color: Color) -> Self {
        Self { image: RgbImage::from_pixel(width, height, Rgb(color)) }
    }

    pub fn into_image(self) -> RgbImage {
        self.image
    }

    /// Fills a rectangle given by its left, top, width and height.
    pub fn fill(&mut self, left: u32, top: u32, width: u32, height: u32, color: Color) {
        for y in top..(top + height).min(self.image.height()) {
            for x in left..(left + width).min(self.image.width()) {
                self.image.put_pixel(x, y, Rgb(color));
            }
        }
    }

    /// Copies a picture with its top left corner to a place; what does not fit is cut off.
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
            for (channel, new) in pixel.0.iter_mut().zip(color) {
                let old = f32::from(*channel);
                *channel = (old + cover * (f32::from(new) - old)).round() as u8;
            }
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

    /// Writes text with its top left corner at a place; what does not fit is cut off.
    pub fn text(&mut self, left: u32, top: u32, text: &str, color: Color) {
        for (i, c) in text.chars().enumerate() {
            for (y, bits) in font::glyph(c).iter().enumerate() {
                for x in (0..font::WIDTH).filter(|x| bits >> (font::WIDTH - 1 - x) & 1 == 1) {
                    let left = left + i as u32 * ADVANCE + x as u32 * SCALE;
                    self.fill(left, top + y as u32 * SCALE, SCALE, SCALE, color);
                }
            }
        }
    }
}

/// Width of a text in pixels.
pub fn text_width(text: &str) -> u32 {
    (text.chars().count() as u32 * ADVANCE).saturating_sub(SCALE)
}

/// The text, or as much of its beginning with `..` behind as is at most so many pixels wide.
pub fn shortened(text: &str, width: u32) -> String {
    let room = ((width + SCALE) / ADVANCE) as usize;
    if text.chars().count() <= room {
        return text.into();
    }
    let kept: String = text.chars().take(room.saturating_sub(2)).collect();
    format!("{}..", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Color = [255; 3];
    const BLACK: Color = [0; 3];

    /// Sum of what was painted black on white, in pixels.
    fn ink(canvas: &Canvas) -> f32 {
        canvas.image.pixels().map(|pixel| 1.0 - f32::from(pixel.0[0]) / 255.0).sum()
    }

    #[test]
    fn a_line_covers_its_area_at_any_angle() {
        for (x, y) in [(60.0, 10.0), (10.0, 60.0), (50.0, 40.0), (17.5, 55.2)] {
            let mut canvas = Canvas::new(80, 80, WHITE);
            canvas.line(&[(10.0, 10.0), (x, y)], 3.0, BLACK);
            // A rectangle with two half circles at its ends.
            let area = 3.0 * (x - 10.0).hypot(y - 10.0) + std::f32::consts::PI * 1.5 * 1.5;
            assert!((ink(&canvas) / area - 1.0).abs() < 0.03, "{} of {area} to {x}, {y}", ink(&canvas));
        }
    }

    #[test]
    fn joints_are_not_painted_twice() {
        let ends = [(10.0, 10.0), (60.0, 33.0)];
        let middle = [(10.0, 10.0), (35.0, 21.5), (60.0, 33.0)];
        let [straight, jointed] = [&ends[..], &middle[..]].map(|points| {
            let mut canvas = Canvas::new(80, 80, WHITE);
            canvas.line(points, 2.0, BLACK);
            canvas.into_image()
        });
        assert_eq!(straight, jointed);
    }

    #[test]
    fn what_leaves_the_picture_is_cut_off() {
        let mut canvas = Canvas::new(8, 8, WHITE);
        canvas.line(&[(-100.0, -100.0), (1e9, 1e9)], 2.0, BLACK);
        assert_eq!(canvas.image.get_pixel(4, 4).0, BLACK);
        canvas.text(6, 6, "cut off", BLACK);
        canvas.fill(7, 0, 100, 100, BLACK);
        assert_eq!(canvas.image.get_pixel(7, 3).0, BLACK);
    }

    #[test]
    fn text_is_as_wide_as_said() {
        let mut canvas = Canvas::new(200, 40, WHITE);
        canvas.text(10, 10, "HHHH", BLACK);
        let columns = (0..200).filter(|&x| (0..40).any(|y| canvas.image.get_pixel(x, y).0 == BLACK));
        assert_eq!(columns.clone().min(), Some(10));
        assert_eq!(columns.max(), Some(10 + text_width("HHHH") - 1));
        assert_eq!(text_width(""), 0);
    }

    #[test]
    fn only_text_too_wide_is_shortened() {
        let width = text_width("long name");
        assert_eq!(shortened("long name", width), "long name");
        assert_eq!(shortened("long name", width - 1), "long n..");
        assert_eq!(shortened("a longer name", text_width("a long..") - 6 * SCALE), "a lon..");
        assert_eq!(shortened("two words", text_width("123456")), "two..");
        assert!(text_width(&shortened("a long name", width)) <= width);
    }
}
