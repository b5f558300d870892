//! What stands for a series: the shape of its points, and its line.

use super::heading::{SAMPLE, Sample};
use super::style::color;
use crate::report::canvas::{Canvas, Color, Point};

/// Half the size of a point in pixels.
pub const DOT: f32 = 5.0;

/// A measured mean in percent (0 to 100), with the standard deviation over seeds and the published value, where known.
///
/// A mean that is not finite is a missing mark. What is outside of 0 to 100 is drawn at the end of the axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// The mean, in percent.
    pub mean: f64,
    /// The standard deviation, in percent points; `None` where there is one value only.
    pub deviation: Option<f64>,
    /// The published value, in percent.
    pub published: Option<f64>,
}

impl Mark {
    /// Mark `i`, if there is one, without what cannot be drawn.
    pub(super) fn get(marks: &[Option<Mark>], i: usize) -> Option<Mark> {
        let mark = marks.get(i).copied().flatten().filter(|mark| mark.mean.is_finite())?;
        Some(Mark {
            deviation: mark.deviation.filter(|deviation| deviation.is_finite() && *deviation >= 0.0),
            published: mark.published.filter(|published| published.is_finite()),
            ..mark
        })
    }
}

/// Draws a point of a series: a circle, a square or a diamond by turns, so that series are told apart in grey too.
pub(super) fn draw_point(canvas: &mut Canvas, series: usize, at: Point, radius: f32, color: Color) {
    let (x, y, reach) = (at.0.round() as u32, at.1.round() as u32, radius.round() as u32);
    match series % 3 {
        0 => canvas.dot(at, radius, color),
        1 => canvas.fill(x - reach + 1, y - reach + 1, 2 * reach - 2, 2 * reach - 2, color),
        _ => {
            let reach = reach + 1;
            for row in 0..2 * reach {
                let half = (row + 1).min(2 * reach - row);
                canvas.fill(x - half, y - reach + row, 2 * half, 1, color);
            }
        }
    }
}

/// Draws a line through the points that there are; `None` leaves a gap.
pub(super) fn draw_line(canvas: &mut Canvas, points: &[Option<Point>], color: Color) {
    for part in points.split(Option::is_none).filter(|part| !part.is_empty()) {
        let part: Vec<Point> = part.iter().copied().flatten().collect();
        canvas.line(&part, 2.5, color);
    }
}

/// The sample of a series in a legend: its line, with a point if its points are `marked`.
pub(super) fn line_sample(series: usize, marked: bool) -> Sample {
    Box::new(move |canvas, (x, y)| {
        canvas.fill(x - SAMPLE / 2, y - 1, SAMPLE, 3, color(series));
        if marked {
            draw_point(canvas, series, (x as f32, y as f32), DOT, color(series));
        }
    })
}
