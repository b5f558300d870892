//! Charts as SVG, in the colours of the page, so that they follow its theme.

use std::fmt::Write;

use super::text::escape;
use crate::report::chart::{Axis, Panel, Series};

/// Size of a chart and the margins around its axes, in pixels; as wide as a phone, so that text stays readable there.
const WIDTH: f32 = 380.0;
const HEIGHT: f32 = 250.0;
const LEFT: f32 = 52.0;
const RIGHT: f32 = 12.0;
const TOP: f32 = 12.0;
const BOTTOM: f32 = 40.0;
/// Most points of a line; more are thinned out evenly.
const MOST_POINTS: usize = 400;
/// A line of at most so many points has each of them marked.
const MARKED: usize = 60;

/// A chart with its title above.
fn figure(title: &str, legend: &str, drawing: &str) -> String {
    format!(
        "<figure>\n<figcaption>{title}{legend}</figcaption>\n\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n{drawing}</svg>\n</figure>\n",
        title = escape(title),
    )
}

fn legend<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let name = |(i, name): (usize, &String)| {
        format!(" <span class=\"key\"><i class=\"s{}\"></i>{}</span>", i % 2 + 1, escape(name))
    };
    names.enumerate().map(name).collect()
}

/// Draws lines through points; a point that is not finite leaves a gap.
pub fn lines(panel: &Panel) -> String {
    let thin = |series: &Series| Series { name: series.name.clone(), points: thinned(&series.points) };
    let panel = Panel { series: panel.series.iter().map(thin).collect(), ..panel.clone() };
    let points = || panel.finite_points();
    if points().next().is_none() {
        return figure(&panel.title, "", &label(WIDTH / 2.0, HEIGHT / 2.0, "middle", "nothing to show yet"));
    }
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let x = Axis::new(points().map(|point| point.0), 0.02, 1.0, LEFT, width);
    let y = Axis::new(points().map(|point| point.1), 0.06, 0.0, TOP + height, -height);
    let mut drawing = grid(&y) + &label(LEFT + width / 2.0, HEIGHT - 4.0, "middle", &panel.x_label);
    for (value, text) in x.ticks(5) {
        drawing += &label(x.pixel(value), HEIGHT - BOTTOM + 16.0, "middle", &text);
    }
    for (i, series) in panel.series.iter().enumerate() {
        drawing += &line(series, &panel.x_label, &x, &y, i % 2 + 1);
    }
    let names = panel.series.iter().filter(|series| !series.points.is_empty()).map(|series| &series.name);
    figure(&panel.title, &legend(names), &drawing)
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.iter().enumerate().filter(|(i, _)| i % step == 0 || *i == last);
    kept.map(|(_, &point)| point).collect()
}

fn line(series: &Series, x_label: &str, x: &Axis, y: &Axis, color: usize) -> String {
    let mut drawing = String::new();
    let points = &series.points;
    for part in points.split(|(x, y)| !x.is_finite() || !y.is_finite()).filter(|part| !part.is_empty()) {
        let pixel = |&(px, py): &(f64, f64)| format!("{:.1},{:.1} ", x.pixel(px), y.pixel(py));
        let pixels: String = part.iter().map(pixel).collect();
        writeln!(drawing, "<polyline class=\"s{color}\" points=\"{}\"/>", pixels.trim_end())
            .expect("to a string");
        if points.len() > MARKED && part.len() > 1 {
            continue;
        }
        for &(px, py) in part {
            let said = escape(&format!("{}, {x_label} {px}: {}", series.name, short(py)));
            writeln!(
                drawing,
                "<circle class=\"s{color}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"><title>{said}</title></circle>",
                x.pixel(px),
                y.pixel(py),
            )
            .expect("to a string");
        }
    }
    drawing
}

/// Draws lines across with their values, and the axes.
fn grid(y: &Axis) -> String {
    let mut drawing = String::new();
    let right = WIDTH - RIGHT;
    for (value, text) in y.ticks(5) {
        let at = y.pixel(value);
        writeln!(drawing, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>").expect("to a string");
        drawing += &label(LEFT - 6.0, at + 4.0, "end", &text);
    }
    let bottom = HEIGHT - BOTTOM;
    drawing + &format!("<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\n")
}

fn label(x: f32, y: f32, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escape(text))
}

/// Draws bars from 0 side by side for every layer; `values[layer]` has one for each name.
pub fn bars(title: &str, names: &[String], values: &[Vec<f64>]) -> String {
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    // Leave some room above the highest bar.
    let heights = values.iter().flatten().map(|value| 1.06 * value);
    let y = Axis::new(heights.chain([0.0]), 0.0, 0.0, TOP + height, -height);
    let mut drawing = grid(&y);
    let slot = width / values.len().max(1) as f32;
    let bar = 0.8 * slot / names.len().max(1) as f32;
    let every = values.len().div_ceil(12).max(1);
    for (layer, values) in values.iter().enumerate() {
        let left = LEFT + slot * layer as f32;
        if layer % every == 0 {
            drawing += &label(left + slot / 2.0, HEIGHT - BOTTOM + 16.0, "middle", &layer.to_string());
        }
        for (i, (&value, name)) in values.iter().zip(names).enumerate() {
            let top = y.pixel(value);
            writeln!(
                drawing,
                "<rect class=\"s{}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{bar:.1}\" height=\"{:.1}\">\
                 <title>{}</title></rect>",
                i % 2 + 1,
                left + 0.1 * slot + bar * i as f32,
                (HEIGHT - BOTTOM - top).max(0.0),
                escape(&format!("layer {layer}, {name}: {}", short(value))),
            )
            .expect("to a string");
        }
    }
    drawing += &label(LEFT + width / 2.0, HEIGHT - 4.0, "middle", "layer");
    figure(title, &legend(names.iter()), &drawing)
}

/// A number with four significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e5).contains(&size) => {
            let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            format!("{value:.decimals$}")
        }
        _ => format!("{value:.3e}"),
    }
}
