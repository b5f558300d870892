//! The curves of a run as PNG: panels side by side, each with its axes, grid, legend and lines.

use super::axis::Axis;
use super::frame::Frame;
use super::heading::Heading;
use super::mark::{DOT, draw_line, draw_point, line_sample};
use super::panel::{Panel, Series, run_panels};
use super::style::{MARGIN, WHITE, color};
use crate::report::canvas::{Canvas, Point};
use crate::report::metrics::Record;

/// Size of the axes of a panel, and the space left and right of them, in pixels.
pub(super) const WIDTH: u32 = 510;
pub(super) const HEIGHT: u32 = 302;
pub(super) const LEFT: u32 = 96;
const RIGHT: u32 = 44;
/// A line of at most so many points has each of them marked.
const MARKED: usize = 40;

/// Loss and validation accuracy of a run as a PNG file, over epochs, or over steps until an epoch is finished.
pub fn curves(records: &[Record]) -> Vec<u8> {
    draw(&run_panels(records)).into_png()
}

pub(super) fn draw(panels: &[Panel]) -> Canvas {
    let headings: Vec<Heading> = panels.iter().map(heading).collect();
    let top = MARGIN + headings.iter().map(Heading::height).max().unwrap_or(0);
    let width = (LEFT + WIDTH + RIGHT) * panels.len().max(1) as u32;
    let mut canvas = Canvas::new(width, top + HEIGHT + Frame::BELOW, WHITE);
    for ((panel, heading), i) in panels.iter().zip(&headings).zip(0..) {
        let left = (LEFT + WIDTH + RIGHT) * i + LEFT;
        heading.draw(&mut canvas, left, MARGIN);
        draw_panel(&mut canvas, panel, &Frame { left, top, width: WIDTH, height: HEIGHT });
    }
    canvas
}

fn heading(panel: &Panel) -> Heading {
    let shown = panel.series.iter().enumerate().filter(|(_, series)| !series.points.is_empty());
    let entries = shown.map(|(i, series)| (series.name.clone(), line_sample(i, is_marked(series))));
    Heading::new(&panel.title, entries, WIDTH + RIGHT)
}

fn is_marked(series: &Series) -> bool {
    series.points.len() <= MARKED
}

fn draw_panel(canvas: &mut Canvas, panel: &Panel, frame: &Frame) {
    let points = || panel.finite_points();
    let (width, height) = (frame.width as f32, frame.height as f32);
    let x = Axis::new(points().map(|point| point.0), 0.02, 1.0, frame.left as f32, width);
    let y = Axis::new(points().map(|point| point.1), 0.06, 0.0, frame.bottom() as f32, -height);
    if points().next().is_none() {
        frame.draw_empty(canvas, "nothing to show yet");
    } else {
        for (value, label) in y.ticks(6) {
            frame.draw_row(canvas, y.pixel(value).round() as u32, &label);
        }
        for (value, label) in x.ticks(7) {
            frame.draw_column(canvas, x.pixel(value).round() as u32, &label);
        }
    }
    frame.name_columns(canvas, &panel.x_label);
    frame.draw_axes(canvas);
    for (i, series) in panel.series.iter().enumerate() {
        draw_series(canvas, i, series, &x, &y);
    }
}

fn draw_series(canvas: &mut Canvas, i: usize, series: &Series, x: &Axis, y: &Axis) {
    let pixel =
        |&(px, py): &(f64, f64)| (px.is_finite() && py.is_finite()).then(|| (x.pixel(px), y.pixel(py)));
    let pixels: Vec<Option<Point>> = series.points.iter().map(pixel).collect();
    draw_line(canvas, &pixels, color(i));
    for part in pixels.split(Option::is_none) {
        // A point between two gaps would hardly be seen otherwise.
        if is_marked(series) || part.len() == 1 {
            part.iter().flatten().for_each(|&at| draw_point(canvas, i, at, DOT, color(i)));
        }
    }
}
