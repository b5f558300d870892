//! Lines over the values of a setting.

use image::RgbImage;

use super::{GAP, LINE, Legend, MARGIN, Mark, SAMPLE, Sample, centred, color};
use crate::report::canvas::{ADVANCE, Canvas, Color, TEXT_HEIGHT, shortened, text_width};
use crate::report::plot::{Axis, GRID, SOFT, WHITE};
use crate::report::png;

/// About the least width and the height of the axes, and the space left of them for percents.
const WIDTH: u32 = 680;
const HEIGHT: u32 = 360;
const LABELS: u32 = 7 * ADVANCE;
/// Widest label of a value.
const VALUE: u32 = 8 * ADVANCE;
/// Half the size of a dot, and of the ring around it for what was published.
const DOT: u32 = 5;
const RING: u32 = 8;
/// Series stand this far from each other at the same value, if there is room.
const APART: f32 = 7.0;

/// Values of a setting, and for each series (method) its name and one mark per value.
pub struct Lines<'a> {
    pub title: &'a str,
    pub x_label: &'a str,
    pub xs: &'a [f64],
    pub series: &'a [(String, Vec<Option<Mark>>)],
}

/// A line for each series over evenly spaced values as PNG; the axis of percents spans what is there.
///
/// Whiskers reach as far as the deviation to both sides, a hollow mark is the published value. A missing mark leaves
/// a gap. Series stand a little apart at the same value, so that their whiskers are not drawn over each other.
pub fn lines(lines: &Lines) -> Vec<u8> {
    png(&draw(lines))
}

pub(super) fn draw(lines: &Lines) -> RgbImage {
    let layout = Layout::new(lines);
    let right = layout.left + layout.width;
    let mut canvas = Canvas::new(right + MARGIN, layout.bottom + 2 * LINE + MARGIN, WHITE);
    layout.legend.draw(&mut canvas, &shortened(lines.title, right - MARGIN));
    draw_axes(&mut canvas, &layout, lines);
    for i in 0..lines.series.len() {
        draw_series(&mut canvas, &layout, i, &marks(lines, i));
    }
    canvas.into_image()
}

/// The marks of a series, one for each value.
fn marks(lines: &Lines, series: usize) -> Vec<Option<Mark>> {
    (0..lines.xs.len()).map(|i| Mark::get(&lines.series[series].1, i)).collect()
}

pub(super) struct Layout {
    legend: Legend,
    /// The axes.
    pub left: u32,
    pub top: u32,
    pub bottom: u32,
    width: u32,
    /// Of the percents, and whether there are any.
    y: Axis,
    empty: bool,
    /// From one value to the next, and from one series to the next at a value.
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
        let legend = Legend::new(entries(lines, &marks), left + width - MARGIN);
        let (top, bottom) = (legend.bottom(), legend.bottom() + HEIGHT);
        let values = marks.iter().flat_map(|mark| {
            let deviation = mark.deviation.unwrap_or(0.0);
            [mark.mean - deviation, mark.mean + deviation].into_iter().chain(mark.published)
        });
        // At least one percent point is spanned: what is closer would be noise made large.
        let around = values.map(within).flat_map(|value| [value - 0.5, value + 0.5]);
        let y = Axis::new(around, 0.03, 0.0, bottom as f32, -(HEIGHT as f32));
        let apart = APART.min(step as f32 / (2 * series.max(1)) as f32);
        Self { legend, left, top, bottom, width, y, empty: marks.is_empty(), step, apart, series }
    }

    /// Middle of the place of a value.
    fn value(&self, i: usize) -> u32 {
        self.left + i as u32 * self.step + self.step / 2
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
    let series = lines.series.iter().enumerate().map(|(i, (name, _))| {
        let sample = move |canvas: &mut Canvas, (x, y): (u32, u32)| {
            canvas.fill(x - SAMPLE / 2, y - 1, SAMPLE, 2, color(i));
            shape(canvas, i, (x, y), DOT, color(i));
        };
        (name.clone(), Box::new(sample) as Sample)
    });
    let mut entries: Vec<_> = series.collect();
    if marks.iter().any(|mark| mark.deviation.is_some()) {
        entries.push((
            "deviation over seeds".into(),
            Box::new(|canvas, (x, y)| whisker(canvas, x, y - 9, y + 9, SOFT)),
        ));
    }
    if marks.iter().any(|mark| mark.published.is_some()) {
        entries.push(("published".into(), Box::new(|canvas, at| ring(canvas, 0, at, SOFT))));
    }
    entries
}

fn draw_axes(canvas: &mut Canvas, layout: &Layout, lines: &Lines) {
    let &Layout { left, top, bottom, width, .. } = layout;
    for (i, &x) in lines.xs.iter().enumerate() {
        canvas.fill(layout.value(i), top, 1, bottom - top, GRID);
        centred(canvas, (layout.value(i), bottom + GAP + TEXT_HEIGHT / 2), &value_label(x));
    }
    let middle = left + width / 2;
    if layout.empty {
        centred(canvas, (middle, (top + bottom) / 2), "no results yet");
    } else {
        let ticks = layout.y.ticks(6).into_iter().filter(|(value, _)| (0.0..=100.0).contains(value));
        for (row, label) in ticks.map(|(value, label)| (layout.row(value), format!("{label} %"))) {
            canvas.fill(left, row, width, 1, GRID);
            let label_left = (left - GAP).saturating_sub(text_width(&label));
            canvas.text(label_left, row - TEXT_HEIGHT / 2, &label, SOFT);
        }
    }
    canvas.fill(left, top, 1, bottom - top, SOFT);
    canvas.fill(left, bottom, width, 1, SOFT);
    let label = shortened(lines.x_label, width);
    centred(canvas, (middle, bottom + GAP + LINE + TEXT_HEIGHT / 2), &label);
}

fn draw_series(canvas: &mut Canvas, layout: &Layout, series: usize, marks: &[Option<Mark>]) {
    let color = color(series);
    let places: Vec<_> = marks
        .iter()
        .enumerate()
        .map(|(i, mark)| mark.map(|mark| ((layout.column(i, series), layout.row(mark.mean)), mark)))
        .collect();
    for part in places.split(|place| place.is_none()).filter(|part| part.len() > 1) {
        let points: Vec<_> = part.iter().flatten().map(|((x, y), _)| (*x as f32, *y as f32)).collect();
        canvas.line(&points, 2.5, color);
    }
    for &(at, mark) in places.iter().flatten() {
        if let Some(published) = mark.published {
            ring(canvas, series, (at.0, layout.row(published)), color);
        }
        if let Some(deviation) = mark.deviation {
            let (low, high) = (mark.mean - deviation, mark.mean + deviation);
            whisker(canvas, at.0, layout.row(high), layout.row(low), color);
        }
        shape(canvas, series, at, DOT, color);
    }
}

/// A line between two rows with a cap at both.
fn whisker(canvas: &mut Canvas, x: u32, top: u32, bottom: u32, color: Color) {
    canvas.fill(x - 1, top, 2, bottom - top, color);
    canvas.fill(x - 4, top - 1, 8, 2, color);
    canvas.fill(x - 4, bottom - 1, 8, 2, color);
}

/// A hollow mark, around the filled one where both are at the same place.
fn ring(canvas: &mut Canvas, series: usize, at: (u32, u32), color: Color) {
    shape(canvas, series, at, RING, color);
    shape(canvas, series, at, RING - 2, WHITE);
}

/// The mark of a series: circle, square or diamond, told apart in grey too.
fn shape(canvas: &mut Canvas, series: usize, (x, y): (u32, u32), radius: u32, color: Color) {
    match series % 3 {
        0 => canvas.dot((x as f32, y as f32), radius as f32, color),
        1 => canvas.fill(x - radius + 1, y - radius + 1, 2 * radius - 2, 2 * radius - 2, color),
        _ => {
            let reach = radius + 1;
            for row in 0..2 * reach {
                let half = (row + 1).min(2 * reach - row);
                canvas.fill(x - half, y - reach + row, 2 * half, 1, color);
            }
        }
    }
}
