//! Results of a sweep as PNG: [`bars`] for many tasks, [`lines`] over a setting.

mod bars;
mod lines;

pub use bars::{Bars, bars};
pub use lines::{Lines, lines};

use super::canvas::{ADVANCE, Canvas, Color, TEXT_HEIGHT, shortened, text_width};
use super::plot::{COLORS, INK, SOFT, WHITE};

/// A measured mean in percent points (0..=100), with the deviation over seeds and the published value, where known.
///
/// A mean that is not finite is a missing mark. What is outside of 0..=100 is drawn at the end of the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    pub mean: f64,
    pub deviation: Option<f64>,
    pub published: Option<f64>,
}

impl Mark {
    /// Mark `i`, if there is one, with what can be drawn of it.
    fn get(marks: &[Option<Mark>], i: usize) -> Option<Mark> {
        let mark = marks.get(i).copied().flatten().filter(|mark| mark.mean.is_finite())?;
        Some(Mark {
            deviation: mark.deviation.filter(|deviation| deviation.is_finite() && *deviation >= 0.0),
            published: mark.published.filter(|published| published.is_finite()),
            ..mark
        })
    }
}

/// Around everything, and from one thing to the next, in pixels.
const MARGIN: u32 = 24;
const GAP: u32 = 10;
/// A line of text with its space, and the title with its.
const LINE: u32 = TEXT_HEIGHT + 14;
const TITLE: u32 = TEXT_HEIGHT + 20;
/// Widest name in a legend, and room for the samples.
const NAME: u32 = 26 * ADVANCE;
const SAMPLE: u32 = 26;

fn color(series: usize) -> Color {
    COLORS[series % COLORS.len()]
}

/// Draws a sample around a centre.
type Sample = Box<dyn Fn(&mut Canvas, (u32, u32))>;

/// Names behind samples, in as many rows as the width needs.
struct Legend {
    /// Left and top of each entry, from those of the legend.
    entries: Vec<(u32, u32, String, Sample)>,
    height: u32,
}

impl Legend {
    fn new(entries: impl IntoIterator<Item = (String, Sample)>, width: u32) -> Self {
        let (mut left, mut top) = (0, 0);
        let place = |(name, sample): (String, Sample)| {
            let name = shortened(&name, NAME);
            let needs = SAMPLE + GAP + text_width(&name);
            if left > 0 && left + needs > width {
                (left, top) = (0, top + LINE);
            }
            let entry = (left, top, name, sample);
            left += needs + MARGIN;
            entry
        };
        let entries: Vec<_> = entries.into_iter().map(place).collect();
        let height = entries.last().map_or(0, |entry| entry.1 + LINE);
        Self { entries, height }
    }

    /// Draws the title and below it the legend, from the top left margin.
    fn draw(&self, canvas: &mut Canvas, title: &str) {
        canvas.text(MARGIN, MARGIN, title, INK);
        for (left, top, name, sample) in &self.entries {
            let (left, top) = (MARGIN + left, MARGIN + TITLE + top);
            sample(canvas, (left + SAMPLE / 2, top + TEXT_HEIGHT / 2));
            canvas.text(left + SAMPLE + GAP, top, name, INK);
        }
    }

    /// Where the axes begin.
    fn bottom(&self) -> u32 {
        MARGIN + TITLE + self.height + GAP
    }
}

/// Writes text with its middle at a place, and nothing of the grid behind it.
fn centred(canvas: &mut Canvas, (x, y): (u32, u32), text: &str) {
    let (left, top, width) = (x - text_width(text) / 2, y - TEXT_HEIGHT / 2, text_width(text));
    canvas.fill(left - 3, top - 3, width + 6, TEXT_HEIGHT + 8, WHITE);
    canvas.text(left, top, text, SOFT);
}

#[cfg(test)]
mod tests;
