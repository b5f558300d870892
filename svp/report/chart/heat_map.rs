//! Heat maps over pictures as one PNG file: lines of maps for each picture, in groups of columns that share a scale.

use std::ops::RangeInclusive;

use image::{Rgb, RgbImage, imageops};

use super::style::{INK, SOFT, WHITE};
use crate::data::resize::{Rect, resize};
use crate::report::canvas::{Canvas, Color, TEXT_HEIGHT, shortened, text_width};

/// The values of a square map row by row; `None` is left blank.
pub type Map = Vec<Option<f64>>;

/// Columns that share a scale of colours, which goes from their smallest value to their largest.
pub struct Group {
    /// Stands above the columns.
    pub name: String,
    /// Names of the columns.
    pub columns: Vec<String>,
}

/// A picture and its maps.
pub struct Row {
    /// Stands above the picture.
    pub name: String,
    /// What the maps are laid over, in grey.
    pub picture: RgbImage,
    /// Kinds of maps, one below the other.
    pub lines: Vec<Line>,
}

/// Maps of one kind over a row's picture.
pub struct Line {
    /// Stands before the maps.
    pub name: String,
    /// A list for each group, in it a map for each of its columns.
    pub maps: Vec<Vec<Map>>,
}

/// Side of a map, and the space between maps, in pixels.
const TILE: u32 = 160;
const GAP: u32 = 8;
/// Pixels between groups, and around everything.
const MARGIN: u32 = 28;
/// Pixels from one line of text to the next.
const TEXT: u32 = TEXT_HEIGHT + 10;
/// Width of the names of the lines, in pixels.
const NAMES: u32 = 112;
/// Height of a scale of colours, in pixels.
const LEGEND: u32 = 14;

/// How much of the picture below is hidden by a colour, or by white if there is no value.
const COVER: f32 = 0.72;

/// Colours from small to large values. They grow lighter all the way, so that they can be read in grey too.
const COLORS: [Color; 6] =
    [[24, 15, 62], [84, 24, 118], [156, 46, 110], [218, 84, 72], [246, 152, 46], [250, 232, 130]];

/// Draws rows of pictures with their maps, as a PNG file.
///
/// # Panics
/// When a line lacks one of the groups, or a map is not square.
pub fn heat_maps(groups: &[Group], rows: &[Row]) -> Vec<u8> {
    let scales: Vec<_> = (0..groups.len()).map(|g| scale(rows, g)).collect();
    let lefts = lefts(groups);
    let right = |g: usize| lefts[g] + groups[g].columns.len() as u32 * (TILE + GAP) - GAP;
    let width = groups.len().checked_sub(1).map_or(MARGIN + TILE, right) + MARGIN;
    let height = |row: &Row| TEXT + row.lines.len() as u32 * (TILE + GAP) + MARGIN;
    let top = MARGIN + 2 * TEXT;
    let bottom = top + rows.iter().map(height).sum::<u32>();
    let mut canvas = Canvas::new(width, bottom + LEGEND + TEXT + MARGIN, WHITE);

    for (g, group) in groups.iter().enumerate() {
        canvas.text(lefts[g], MARGIN, &group.name, INK);
        for (c, column) in group.columns.iter().enumerate() {
            canvas.text(lefts[g] + c as u32 * (TILE + GAP), MARGIN + TEXT, column, SOFT);
        }
        legend(&mut canvas, lefts[g], bottom, right(g) - lefts[g], &scales[g]);
    }
    let mut at = top;
    for row in rows {
        draw_row(&mut canvas, at, row, &lefts, &scales);
        at += height(row);
    }
    canvas.into_png()
}

/// Where each group begins.
fn lefts(groups: &[Group]) -> Vec<u32> {
    let mut left = MARGIN + TILE + GAP + NAMES;
    let begin = |group: &Group| {
        let at = left;
        left += group.columns.len() as u32 * (TILE + GAP) - GAP + MARGIN;
        at
    };
    groups.iter().map(begin).collect()
}

/// Smallest and largest value of a group.
fn scale(rows: &[Row], group: usize) -> RangeInclusive<f64> {
    let lines = rows.iter().flat_map(|row| &row.lines);
    let values = lines.flat_map(|line| line.maps[group].iter().flatten().flatten());
    let wider = |(low, high): (f64, f64), &v: &f64| (low.min(v), high.max(v));
    let (low, high) = values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), wider);
    if low <= high { low..=high } else { 0.0..=0.0 }
}

/// How far up a scale a value lies, 0 to 1; the middle where there is but one value.
fn share(value: f64, scale: &RangeInclusive<f64>) -> f32 {
    let range = scale.end() - scale.start();
    if range > 0.0 { ((value - scale.start()) / range) as f32 } else { 0.5 }
}

/// The colour of a share of the scale.
fn color(share: f32) -> Color {
    let at = share.clamp(0.0, 1.0) * (COLORS.len() - 1) as f32;
    let low = (at as usize).min(COLORS.len() - 2);
    mix(COLORS[low], COLORS[low + 1], at - low as f32)
}

fn mix(a: Color, b: Color, share: f32) -> Color {
    std::array::from_fn(|i| (f32::from(a[i]) + share * (f32::from(b[i]) - f32::from(a[i]))).round() as u8)
}

fn draw_row(canvas: &mut Canvas, top: u32, row: &Row, lefts: &[u32], scales: &[RangeInclusive<f64>]) {
    let whole = Rect { x: 0, y: 0, width: TILE, height: TILE };
    let picture = resize(&row.picture, Rect::of(&row.picture), (TILE, TILE), whole);
    let grey = imageops::grayscale(&picture);
    canvas.text(MARGIN, top, &row.name, INK);
    let top = top + TEXT;
    canvas.picture(MARGIN, top, &picture);
    for (l, line) in row.lines.iter().enumerate() {
        let top = top + l as u32 * (TILE + GAP);
        let names = MARGIN + TILE + GAP;
        canvas.text(names, top + (TILE - TEXT_HEIGHT) / 2, &shortened(&line.name, NAMES - GAP), SOFT);
        for ((maps, left), scale) in line.maps.iter().zip(lefts).zip(scales) {
            for (c, map) in maps.iter().enumerate() {
                canvas.picture(left + c as u32 * (TILE + GAP), top, &tile(map, &grey, scale));
            }
        }
    }
}

/// A map over the grey picture.
fn tile(map: &Map, grey: &image::GrayImage, scale: &RangeInclusive<f64>) -> RgbImage {
    let side = map.len().isqrt() as u32;
    assert_eq!((side * side) as usize, map.len(), "a square map");
    RgbImage::from_fn(TILE, TILE, |x, y| {
        let cell = (y * side / TILE) * side + x * side / TILE;
        let over = match map[cell as usize] {
            Some(value) => color(share(value, scale)),
            None => WHITE,
        };
        Rgb(mix([grey.get_pixel(x, y).0[0]; 3], over, COVER))
    })
}

/// The colours of a scale from left to right, its ends below.
fn legend(canvas: &mut Canvas, left: u32, top: u32, width: u32, scale: &RangeInclusive<f64>) {
    for x in 0..width {
        canvas.fill(left + x, top, 1, LEGEND, color(x as f32 / (width - 1) as f32));
    }
    let ends = |digits: usize| {
        let plain = (0.1..1e3).contains(&scale.start().abs().max(scale.end().abs()));
        [scale.start(), scale.end()].map(|value| match plain {
            true => format!("{value:.digits$}"),
            false => format!("{value:.digits$e}"),
        })
    };
    // Under a single map there is less room.
    let fits = |[low, high]: &[String; 2]| text_width(low) + text_width(high) + GAP <= width;
    let [low, high] = [3, 2, 1].map(ends).into_iter().find(fits).unwrap_or_else(|| ends(0));
    canvas.text(left, top + LEGEND + 8, &low, SOFT);
    let right = (left + width).saturating_sub(text_width(&high));
    canvas.text(right, top + LEGEND + 8, &high, SOFT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Group> {
        let group = |name: &str, columns: &[&str]| Group {
            name: name.into(),
            columns: columns.iter().map(|c| c.to_string()).collect(),
        };
        vec![group("a", &["1", "2"]), group("b", &["1"])]
    }

    fn row(values: [f64; 3]) -> Row {
        let map = |v: f64| vec![Some(v), None, Some(v / 2.0), Some(v)];
        let maps = vec![vec![map(values[0]), map(values[1])], vec![map(values[2])]];
        let picture = RgbImage::from_pixel(9, 9, Rgb([120; 3]));
        Row { name: "x.png".into(), picture, lines: vec![Line { name: "line".into(), maps }] }
    }

    #[test]
    fn colours_grow_lighter() {
        let light = |c: Color| 0.2126 * f64::from(c[0]) + 0.7152 * f64::from(c[1]) + 0.0722 * f64::from(c[2]);
        let steps: Vec<f64> = (0..=100).map(|i| light(color(i as f32 / 100.0))).collect();
        assert!(steps.is_sorted_by(|a, b| *a < *b + 0.51), "rounding aside: {steps:?}");
        assert!(steps[100] - steps[0] > 180.0);
        assert_eq!((color(0.0), color(1.0)), (COLORS[0], COLORS[5]));
    }

    #[test]
    fn maps_stand_in_their_columns_with_the_colours_of_their_group() {
        let (groups, rows) = (groups(), [row([1.0, 4.0, 100.0])]);
        let image = image::load_from_memory(&heat_maps(&groups, &rows)).unwrap().to_rgb8();
        let top = MARGIN + 3 * TEXT;
        let cell = |left: u32, x: u32, y: u32| {
            image.get_pixel(left + x * TILE / 2 + TILE / 4, top + y * TILE / 2 + TILE / 4).0
        };
        let over = |color| mix([120; 3], color, COVER);
        let lefts = lefts(&groups);
        // Group a runs from 0.5 to 4, group b from 50 to 100.
        assert_eq!(cell(lefts[0], 0, 0), over(color(0.5 / 3.5)));
        assert_eq!(cell(lefts[0], 1, 0), over(WHITE));
        assert_eq!(cell(lefts[0], 0, 1), over(COLORS[0]));
        assert_eq!(cell(lefts[0] + TILE + GAP, 1, 1), over(COLORS[5]));
        assert_eq!(cell(lefts[1], 0, 1), over(COLORS[0]));
        assert_eq!(cell(lefts[1], 0, 0), over(COLORS[5]));
        assert_eq!(cell(MARGIN, 0, 0), [120; 3]);
        assert_eq!(image.width(), lefts[1] + TILE + MARGIN);
    }

    #[test]
    fn equal_values_and_no_values_have_a_picture() {
        assert_eq!(scale(&[row([2.0; 3])], 0), 1.0..=2.0);
        assert_eq!(share(3.0, &(3.0..=3.0)), 0.5);
        assert_eq!(scale(&[], 0), 0.0..=0.0);
        heat_maps(&groups(), &[row([f64::NAN; 3])]);
    }
}
