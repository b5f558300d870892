//! What stands above the axes of a chart: its title and its legend.

use super::style::{GAP, INK, LINE, MARGIN};
use crate::report::canvas::{Canvas, TEXT_HEIGHT, shortened, text_width};

/// Pixels from the top of the title to the top of the legend.
const TITLE: u32 = TEXT_HEIGHT + 20;
/// Widest name in a legend, in pixels.
const NAME: u32 = 400;
/// Width of a sample in a legend, in pixels.
pub const SAMPLE: u32 = 26;

/// Draws a sample of a series around a centre.
pub type Sample = Box<dyn Fn(&mut Canvas, (u32, u32))>;

/// A title, and below it names behind samples in as many rows as the width needs.
pub struct Heading {
    title: String,
    /// Left and top of each entry, relative to the top left corner of the heading.
    entries: Vec<(u32, u32, String, Sample)>,
    height: u32,
}

impl Heading {
    /// A heading at most `width` pixels wide: what is too long is shortened.
    pub fn new(title: &str, entries: impl IntoIterator<Item = (String, Sample)>, width: u32) -> Self {
        let (mut left, mut top) = (0, TITLE);
        let arrange = |(name, sample): (String, Sample)| {
            let name = shortened(&name, NAME);
            let needs = SAMPLE + GAP + text_width(&name);
            if left > 0 && left + needs > width {
                (left, top) = (0, top + LINE);
            }
            let entry = (left, top, name, sample);
            left += needs + MARGIN;
            entry
        };
        let entries: Vec<_> = entries.into_iter().map(arrange).collect();
        let height = entries.last().map_or(TITLE, |entry| entry.1 + LINE) + GAP;
        Self { title: shortened(title, width), entries, height }
    }

    /// Pixels from the top of the title to where the axes can begin.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Draws the heading with its top left corner at the given pixel.
    pub fn draw(&self, canvas: &mut Canvas, left: u32, top: u32) {
        canvas.text(left, top, &self.title, INK);
        for (x, y, name, sample) in &self.entries {
            let (left, top) = (left + x, top + y);
            sample(canvas, (left + SAMPLE / 2, top + TEXT_HEIGHT / 2));
            canvas.text(left + SAMPLE + GAP, top, name, INK);
        }
    }
}
