//! Horizontal bars, grouped by row.

use super::axis::Axis;
use super::frame::Frame;
use super::heading::{Heading, Sample};
use super::mark::Mark;
use super::style::{GAP, GRID, INK, LINE, MARGIN, SOFT, WHITE, color};
use crate::report::canvas::{Canvas, TEXT_HEIGHT, shortened, text_width};

/// Pixels from 0 to 100 %, and behind that for the number of a full bar.
pub(super) const LENGTH: u32 = 600;
const NUMBER: u32 = 70;
/// Least and largest width of the names of the rows, in pixels.
const NAMES: (u32, u32) = (120, 360);
/// Pixels: thickness of a bar, from one bar to the next, and between groups.
pub(super) const BAR: u32 = 12;
pub(super) const PITCH: u32 = 18;
const BETWEEN: u32 = 14;
/// Height of the axes when there is nothing in them, in pixels.
const EMPTY: u32 = 120;

/// Rows of tasks, each with one mark per series (method).
pub struct Bars<'a> {
    /// Stands above the chart.
    pub title: &'a str,
    /// Names of the series.
    pub series: &'a [String],
    /// Names of the rows, and a mark for each series; marks that are left out at the end are missing.
    pub rows: &'a [(String, Vec<Option<Mark>>)],
}

/// Groups of bars from 0 to 100 % as a PNG file: a group for each row, in it a bar for each series.
///
/// A whisker reaches as far as the deviation to both sides, a tick stands at the published value. The number is the
/// mean; `-` stands for a missing one.
pub fn bars(bars: &Bars) -> Vec<u8> {
    draw(bars).into_png()
}

pub(super) fn draw(bars: &Bars) -> Canvas {
    let layout = Layout::new(bars);
    let Layout { heading, frame, groups, .. } = &layout;
    let mut canvas = Canvas::new(layout.width, frame.bottom() + LINE + MARGIN, WHITE);
    heading.draw(&mut canvas, MARGIN, MARGIN);
    draw_grid(&mut canvas, &layout);
    for (row, (name, marks)) in bars.rows.iter().enumerate().take(*groups) {
        let name = shortened(name, NAMES.1);
        let middle = (layout.bar(row, 0) + layout.bar(row, bars.series.len() - 1)) / 2;
        let left = frame.left - GAP - text_width(&name);
        canvas.text(left, middle - TEXT_HEIGHT / 2, &name, INK);
        for series in 0..bars.series.len() {
            let y = layout.bar(row, series);
            match Mark::get(marks, series) {
                Some(mark) => draw_mark(&mut canvas, &layout, mark, series, y),
                None => canvas.text(frame.left + 8, y - TEXT_HEIGHT / 2, "-", SOFT),
            }
        }
    }
    canvas
}

pub(super) struct Layout {
    heading: Heading,
    groups: usize,
    /// Height of a group with the space behind.
    group: u32,
    pub width: u32,
    pub frame: Frame,
    axis: Axis,
}

impl Layout {
    pub fn new(bars: &Bars) -> Self {
        let names = bars.rows.iter().map(|(name, _)| text_width(name)).max().unwrap_or(0);
        let left = MARGIN + names.clamp(NAMES.0, NAMES.1) + GAP;
        let width = left + LENGTH + NUMBER + MARGIN;
        let heading = Heading::new(bars.title, entries(bars), width - 2 * MARGIN);
        let groups = if bars.series.is_empty() { 0 } else { bars.rows.len() };
        let group = bars.series.len() as u32 * PITCH + BETWEEN;
        let height = if groups == 0 { EMPTY } else { groups as u32 * group };
        let frame = Frame { left, top: MARGIN + heading.height(), width: LENGTH, height };
        let axis = Axis::new([0.0, 100.0].into_iter(), 0.0, 1.0, left as f32, LENGTH as f32);
        Self { heading, groups, group, width, frame, axis }
    }

    /// Middle of a bar.
    pub fn bar(&self, row: usize, series: usize) -> u32 {
        self.frame.top + row as u32 * self.group + BETWEEN / 2 + series as u32 * PITCH + PITCH / 2
    }

    /// Column of a value, kept inside of the axis.
    pub fn column(&self, value: f64) -> u32 {
        self.axis.pixel(value.clamp(0.0, 100.0)).round() as u32
    }
}

fn entries(bars: &Bars) -> Vec<(String, Sample)> {
    let series = bars.series.iter().enumerate().map(|(i, name)| {
        let sample = move |canvas: &mut Canvas, (x, y): (u32, u32)| {
            canvas.fill(x - 11, y - BAR / 2, 22, BAR, color(i))
        };
        (name.clone(), Box::new(sample) as Sample)
    });
    let shown = |part: fn(Mark) -> Option<f64>| {
        let mut marks = bars.rows.iter().flat_map(|(_, marks)| (0..marks.len()).map(|i| Mark::get(marks, i)));
        marks.any(|mark| mark.and_then(part).is_some())
    };
    let mut entries: Vec<_> = series.collect();
    if shown(|mark| mark.deviation) {
        entries.push((
            "deviation over seeds".into(),
            Box::new(|canvas, (x, y)| whisker(canvas, x - 11, x + 11, y)),
        ));
    }
    if shown(|mark| mark.published) {
        entries.push(("published".into(), Box::new(|canvas, (x, y)| tick(canvas, x, y))));
    }
    entries
}

fn draw_grid(canvas: &mut Canvas, layout: &Layout) {
    let frame = &layout.frame;
    for (value, label) in layout.axis.ticks(5) {
        frame.draw_column(canvas, layout.column(value), &format!("{label} %"));
    }
    for row in 1..layout.groups as u32 {
        canvas.fill(frame.left, frame.top + row * layout.group, LENGTH, 1, GRID);
    }
    frame.draw_axes(canvas);
    if layout.groups == 0 {
        frame.draw_empty(canvas, "no results yet");
    }
}

fn draw_mark(canvas: &mut Canvas, layout: &Layout, mark: Mark, series: usize, y: u32) {
    let end = layout.column(mark.mean);
    let reach = mark.deviation.map(|d| (layout.column(mark.mean - d), layout.column(mark.mean + d)));
    let published = mark.published.map(|value| layout.column(value));
    let number = shortened(&format!("{:.1}", mark.mean), NUMBER);
    // The number stands behind bar and whisker, and behind the tick where that would be in the way.
    let mut left = reach.map_or(end, |(_, high)| high) + GAP;
    if let Some(tick) =
        published.filter(|tick| (left..left + text_width(&number) + 2 * GAP).contains(&(tick + GAP)))
    {
        left = tick + GAP;
    }
    // No line of the grid runs through the number.
    canvas.fill(left - 3, y - TEXT_HEIGHT / 2, text_width(&number) + 6, TEXT_HEIGHT, WHITE);
    canvas.text(left, y - TEXT_HEIGHT / 2, &number, INK);
    canvas.fill(layout.frame.left, y - BAR / 2, end - layout.frame.left, BAR, color(series));
    if let Some((low, high)) = reach {
        whisker(canvas, low, high, y);
    }
    if let Some(column) = published {
        tick(canvas, column, y);
    }
}

/// Draws a line between two columns with a cap at both.
fn whisker(canvas: &mut Canvas, low: u32, high: u32, y: u32) {
    outlined(canvas, &[(low, y - 1, high - low, 2), (low - 1, y - 4, 2, 8), (high - 1, y - 4, 2, 8)]);
}

/// Draws the published value: taller than a bar, so that it cannot be taken for the cap of a whisker.
fn tick(canvas: &mut Canvas, x: u32, y: u32) {
    outlined(canvas, &[(x - 2, y - PITCH / 2 + 1, 4, PITCH - 2)]);
}

/// Fills rectangles with white around them, so that they are seen on any colour.
fn outlined(canvas: &mut Canvas, rectangles: &[(u32, u32, u32, u32)]) {
    for &(left, top, width, height) in rectangles {
        canvas.fill(left - 1, top - 1, width + 2, height + 2, WHITE);
    }
    for &(left, top, width, height) in rectangles {
        canvas.fill(left, top, width, height, INK);
    }
}
