//! Lines over the values of a setting.

use super::axis::Axis;
use super::frame::Frame;
use super::heading::{Heading, Sample};
use super::mark::{DOT, Mark, draw_line, draw_point, line_sample};
use super::style::{GAP, MARGIN, SOFT, WHITE, color};
use crate::report::canvas::{Canvas, Color, Point, shortened, text_width};

/// Pixels: about the least width of the axes, their height, and the space left of them for percents.
const WIDTH: u32 = 680;
const HEIGHT: u32 = 360;
const LABELS: u32 = 84;
/// Widest label of a value, in pixels.
const VALUE: u32 = 96;
/// Half the size of the ring for what was published, in pixels.
const RING: f32 = 8.0;
/// Pixels that series stand apart from each other at the same value, if there is room.
const APART: f32 = 7.0;

/// Values of a setting, and for each series (method) its name and one mark per value.
pub struct Lines<'a> {
    /// Stands above the chart.
    pub title: &'a str,
    /// Name of the setting.
    pub x_label: &'a str,
    /// The values of the setting, which are spaced evenly.
    pub xs: &'a [f64],
    /// Names of the series, and a mark for each value; marks that are left out at the end are missing.
    pub series: &'a [(String, Vec<Option<Mark>>)],
}

/// A line for each series over evenly spaced values as a PNG file; the axis of percents spans what is there.
///
/// Whiskers reach as far as the deviation to both sides, a hollow point is the published value. A missing mark leaves
/// a gap. Series stand a little apart at the same value, so that their whiskers are not drawn over each other.
pub fn lines(lines: &Lines) -> Vec<u8> {
    draw(lines).into_png()
}

pub(super) fn draw(lines: &Lines) -> Canvas {
    let layout = Layout::new(lines);
    let frame = &layout.frame;
    let width = frame.left + frame.width + MARGIN;
    let mut canvas = Canvas::new(width, frame.bottom() + Frame::BELOW, WHITE);
    layout.heading.draw(&mut canvas, MARGIN, MARGIN);
    draw_grid(&mut canvas, &layout, lines);
    for i in 0..lines.series.len() {
        draw_series(&mut canvas, &layout, i, &marks(lines, i));
    }
    canvas
}

/// The marks of a series, one for each value.
fn marks(lines: &Lines, series: usize) -> Vec<Option<Mark>> {
    (0..lines.xs.len()).map(|i| Mark::get(&lines.series[series].1, i)).collect()
}

pub(super) struct Layout {
    heading: Heading,
    pub frame: Frame,
    /// Of the percents, and whether there are any.
    y: Axis,
    empty: bool,
    /// Pixels from one value to the next, and from one series to the next at a value.
    step: u32,
    apart: f32,
    series: usize,
}

impl Layout {
    pub fn new(lines: &Lines) -> Self {
        let (count, series) = (lines.xs.len().max(1) as u32, lines.series.len());
        let widest = lines.xs.iter().map(|&x| text_width(&value_label(x))).max().unwrap_or(0);
        let step = (WIDTH / count).max(widest + 2 * GAP);
        let (left, width) = (MARGIN + LABELS + GAP, step * count);
        let marks: Vec<_> = (0..series).flat_map(|i| marks(lines, i)).flatten().collect();
        let heading = Heading::new(lines.title, entries(lines, &marks), left + width - MARGIN);
        let frame = Frame { left, top: MARGIN + heading.height(), width, height: HEIGHT };
        let values = marks.iter().flat_map(|mark| {
            let deviation = mark.deviation.unwrap_or(0.0);
            [mark.mean - deviation, mark.mean + deviation].into_iter().chain(mark.published)
        });
        // At least one percent point is spanned: what is closer would be noise made large.
        let around = values.map(within).flat_map(|value| [value - 0.5, value + 0.5]);
        let y = Axis::new(around, 0.03, 0.0, frame.bottom() as f32, -(HEIGHT as f32));
        let apart = APART.min(step as f32 / (2 * series.max(1)) as f32);
        Self { heading, frame, y, empty: marks.is_empty(), step, apart, series }
    }

    /// Column of the label of a value.
    fn value(&self, i: usize) -> u32 {
        self.frame.left + i as u32 * self.step + self.step / 2
    }

    /// Column of a series at a value.
    pub fn column(&self, i: usize, series: usize) -> u32 {
        let aside = self.apart * (series as f32 - (self.series - 1) as f32 / 2.0);
        (self.value(i) as f32 + aside).round() as u32
    }

    /// Row of percent points.
    pub fn row(&self, percent: f64) -> u32 {
        self.y.pixel(within(percent)).round() as u32
    }
}

fn within(percent: f64) -> f64 {
    percent.clamp(0.0, 100.0)
}

fn value_label(x: f64) -> String {
    shortened(&x.to_string(), VALUE)
}

fn entries(lines: &Lines, marks: &[Mark]) -> Vec<(String, Sample)> {
    let series = lines.series.iter().enumerate();
    let mut entries: Vec<_> = series.map(|(i, (name, _))| (name.clone(), line_sample(i, true))).collect();
    if marks.iter().any(|mark| mark.deviation.is_some()) {
        entries.push((
            "deviation over seeds".into(),
            Box::new(|canvas, (x, y)| whisker(canvas, x, y - 9, y + 9, SOFT)),
        ));
    }
    if marks.iter().any(|mark| mark.published.is_some()) {
        entries.push((
            "published".into(),
            Box::new(|canvas, (x, y)| ring(canvas, 0, (x as f32, y as f32), SOFT)),
        ));
    }
    entries
}

fn draw_grid(canvas: &mut Canvas, layout: &Layout, lines: &Lines) {
    let frame = &layout.frame;
    for (i, &x) in lines.xs.iter().enumerate() {
        frame.draw_column(canvas, layout.value(i), &value_label(x));
    }
    if layout.empty {
        frame.draw_empty(canvas, "no results yet");
    } else {
        let ticks = layout.y.ticks(6).into_iter().filter(|(value, _)| (0.0..=100.0).contains(value));
        for (value, label) in ticks {
            frame.draw_row(canvas, layout.row(value), &format!("{label} %"));
        }
    }
    frame.name_columns(canvas, lines.x_label);
    frame.draw_axes(canvas);
}

fn draw_series(canvas: &mut Canvas, layout: &Layout, series: usize, marks: &[Option<Mark>]) {
    let color = color(series);
    let point = |i: usize, percent: f64| (layout.column(i, series) as f32, layout.row(percent) as f32);
    let points = marks.iter().enumerate().map(|(i, mark)| mark.map(|mark| point(i, mark.mean)));
    draw_line(canvas, &points.collect::<Vec<_>>(), color);
    for (i, mark) in marks.iter().enumerate().filter_map(|(i, mark)| Some((i, (*mark)?))) {
        if let Some(published) = mark.published {
            ring(canvas, series, point(i, published), color);
        }
        if let Some(deviation) = mark.deviation {
            let (low, high) = (mark.mean - deviation, mark.mean + deviation);
            whisker(canvas, layout.column(i, series), layout.row(high), layout.row(low), color);
        }
        draw_point(canvas, series, point(i, mark.mean), DOT, color);
    }
}

/// Draws a line between two rows with a cap at both.
fn whisker(canvas: &mut Canvas, x: u32, top: u32, bottom: u32, color: Color) {
    canvas.fill(x - 1, top, 2, bottom - top, color);
    canvas.fill(x - 4, top - 1, 8, 2, color);
    canvas.fill(x - 4, bottom - 1, 8, 2, color);
}

/// Draws a hollow point, which is seen around the filled one where both are at the same pixel.
fn ring(canvas: &mut Canvas, series: usize, at: Point, color: Color) {
    draw_point(canvas, series, at, RING, color);
    draw_point(canvas, series, at, RING - 2.0, WHITE);
}
