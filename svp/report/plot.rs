//! Line charts of a run as PNG: panels side by side, each with axes, grid, legend and its lines.

use image::RgbImage;

use super::canvas::{Canvas, Color, TEXT_HEIGHT, text_width};
use super::metrics::Record;
use super::png;
use super::table::count;

/// Size of one panel and the margins around its axes, in pixels.
const WIDTH: u32 = 650;
const HEIGHT: u32 = 440;
const LEFT: u32 = 96;
const RIGHT: u32 = 44;
const TOP: u32 = 74;
const BOTTOM: u32 = 64;

pub(super) const WHITE: Color = [255, 255, 255];
pub(super) const INK: Color = [40, 40, 40];
pub(super) const SOFT: Color = [105, 105, 105];
pub(super) const GRID: Color = [228, 228, 228];
/// Told apart with every common kind of colour blindness (Okabe and Ito, "Color Universal Design", 2008).
#[rustfmt::skip]
pub(super) const COLORS: [Color; 8] = [
    [0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167],
    [230, 159, 0], [86, 180, 233], [0, 0, 0], [240, 228, 66],
];

/// A line through points in the order given; a point that is not finite leaves a gap.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// One pair of axes with its lines. Whole numbers are marked on the x axis.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub title: String,
    pub x_label: String,
    pub series: Vec<Series>,
}

/// Loss and validation accuracy of a run as PNG, over epochs, or over steps as long as no epoch is finished.
pub fn curves(records: &[Record]) -> Vec<u8> {
    png(&draw(&run_panels(records)))
}

/// Loss and accuracy.
pub(super) fn run_panels(records: &[Record]) -> [Panel; 2] {
    let (mut steps, mut train, mut val, mut top1) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for record in records {
        match *record {
            Record::Step { step, loss, .. } => steps.push((step as f64, loss.into())),
            Record::Epoch { epoch, train_loss, val_loss, val_top1, .. } => {
                train.push((epoch as f64, train_loss.into()));
                val.push((epoch as f64, val_loss.into()));
                top1.push((epoch as f64, 100.0 * f64::from(val_top1)));
            }
            Record::Final { .. } => {}
        }
    }
    let (x_label, train) = if train.is_empty() { ("step", steps) } else { ("epoch", train) };
    let best =
        top1.iter().copied().filter(|point| point.1.is_finite()).reduce(|a, b| if b.1 > a.1 { b } else { a });
    let accuracy = best.map_or("validation".into(), |(epoch, top1)| {
        format!("validation, best {top1:.1} % in epoch {epoch}")
    });
    let panel = |title: &str, series: Vec<(&str, Vec<(f64, f64)>)>| Panel {
        title: title.into(),
        x_label: x_label.into(),
        series: series.into_iter().map(|(name, points)| Series { name: name.into(), points }).collect(),
    };
    [
        panel("Loss", vec![("training", train), ("validation", val)]),
        panel("Top-1 accuracy (%)", vec![(&accuracy, top1)]),
    ]
}

/// The learning rate.
pub(super) fn rate_panel(records: &[Record]) -> Panel {
    let rate = |record: &Record| match *record {
        Record::Step { step, lr, .. } => Some((step as f64, lr.into())),
        _ => None,
    };
    let series = Series { name: "each step".into(), points: records.iter().filter_map(rate).collect() };
    Panel { title: "Learning rate".into(), x_label: "step".into(), series: vec![series] }
}

fn draw(panels: &[Panel]) -> RgbImage {
    let mut canvas = Canvas::new(WIDTH * panels.len().max(1) as u32, HEIGHT, WHITE);
    for (i, panel) in panels.iter().enumerate() {
        draw_panel(&mut canvas, WIDTH * i as u32, panel);
    }
    canvas.into_image()
}

fn draw_panel(canvas: &mut Canvas, left: u32, panel: &Panel) {
    let finite = || {
        let points = panel.series.iter().flat_map(|series| &series.points);
        points.filter(|(x, y)| x.is_finite() && y.is_finite())
    };
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let x = Axis::new(finite().map(|point| point.0), 0.02, 1.0, (left + LEFT) as f32, width as f32);
    let y = Axis::new(finite().map(|point| point.1), 0.06, 0.0, (TOP + height) as f32, -(height as f32));
    canvas.text(left + LEFT, 16, &panel.title, INK);
    let centred = |text: &str| left + LEFT + width.saturating_sub(text_width(text)) / 2;
    canvas.text(centred(&panel.x_label), HEIGHT - TEXT_HEIGHT - 12, &panel.x_label, SOFT);
    if finite().next().is_none() {
        let empty = "nothing to show yet";
        canvas.text(centred(empty), TOP + height / 2, empty, SOFT);
    } else {
        draw_grid(canvas, left, &x, &y);
        draw_legend(canvas, left, &panel.series);
    }
    canvas.fill(left + LEFT, TOP, 1, height, SOFT);
    canvas.fill(left + LEFT, TOP + height, width, 1, SOFT);
    for (series, color) in panel.series.iter().zip(COLORS.iter().cycle()) {
        draw_series(canvas, series, &x, &y, *color);
    }
}

fn draw_grid(canvas: &mut Canvas, left: u32, x: &Axis, y: &Axis) {
    let bottom = HEIGHT - BOTTOM;
    for (value, label) in y.ticks(6) {
        let row = y.pixel(value).round() as u32;
        canvas.fill(left + LEFT, row, WIDTH - LEFT - RIGHT, 1, GRID);
        let label_left = (left + LEFT).saturating_sub(text_width(&label) + 10);
        canvas.text(label_left, row.saturating_sub(TEXT_HEIGHT / 2), &label, SOFT);
    }
    for (value, label) in x.ticks(7) {
        let column = x.pixel(value).round() as u32;
        canvas.fill(column, TOP, 1, bottom - TOP, GRID);
        canvas.text(column - text_width(&label) / 2, bottom + 10, &label, SOFT);
    }
}

/// Names in a row between title and axes, each behind a sample of its line.
fn draw_legend(canvas: &mut Canvas, left: u32, series: &[Series]) {
    let mut left = left + LEFT;
    let shown = series.iter().zip(COLORS.iter().cycle()).filter(|(series, _)| !series.points.is_empty());
    for (series, color) in shown {
        canvas.fill(left, 48, 22, 3, *color);
        canvas.text(left + 30, 49 - TEXT_HEIGHT / 2, &series.name, INK);
        left += 30 + text_width(&series.name) + 28;
    }
}

fn draw_series(canvas: &mut Canvas, series: &Series, x: &Axis, y: &Axis, color: Color) {
    let points = &series.points;
    for part in points.split(|(x, y)| !x.is_finite() || !y.is_finite()).filter(|part| !part.is_empty()) {
        let pixels: Vec<_> = part.iter().map(|point| (x.pixel(point.0), y.pixel(point.1))).collect();
        canvas.line(&pixels, 2.5, color);
        // Few points are marked one by one; a point alone would not be seen otherwise.
        if points.len() <= 40 || pixels.len() == 1 {
            pixels.iter().for_each(|&pixel| canvas.dot(pixel, 4.0, color));
        }
    }
}

/// Maps values to pixels along one direction.
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Marks are at least this far apart; 1 keeps to whole numbers.
    least_step: f64,
    /// Pixel of `low`, and pixels from there to `high` (negative: upwards).
    origin: f32,
    length: f32,
}

impl Axis {
    /// An axis over all values, with a share of their range free at both ends.
    pub fn new(
        values: impl Iterator<Item = f64>,
        free: f64,
        least_step: f64,
        origin: f32,
        length: f32,
    ) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let range = high - low;
        let margin = if range > 0.0 { free * range } else { (low.abs() / 10.0).max(least_step).max(1e-3) };
        Self { low: low - margin, high: high + margin, least_step, origin, length }
    }

    pub fn pixel(&self, value: f64) -> f32 {
        self.origin + self.length * ((value - self.low) / (self.high - self.low)) as f32
    }

    /// About `wanted` round values with their labels: steps of 1, 2 or 5 times a power of ten.
    pub fn ticks(&self, wanted: u32) -> Vec<(f64, String)> {
        let step = ((self.high - self.low) / f64::from(wanted)).max(self.least_step);
        let power = 10f64.powf(step.log10().floor());
        let step = power * [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= step * 0.999).unwrap_or(10.0);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|i| (i as f64 * step, tick_label(i as f64 * step, step))).collect()
    }
}

/// A value with as many decimals as marks this far apart need, and powers of ten for the very small and large.
fn tick_label(value: f64, step: f64) -> String {
    let decimals = -(step.log10() + 1e-9).floor();
    if value == 0.0 {
        "0".into()
    } else if decimals > 4.0 || value.abs() >= 1e7 {
        format!("{value:.1e}")
    } else if decimals <= 0.0 && value >= 0.0 {
        count(value.round() as u64)
    } else {
        format!("{value:.*}", decimals.max(0.0) as usize)
    }
}

#[cfg(test)]
mod tests;
