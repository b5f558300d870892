//! A small canvas for the drawn tasks, with textured backgrounds and anti-aliased polygons in several fill styles.
//!
//! Lengths are in pixels. The x axis points right and the y axis down, and angles are clockwise from the x axis.
//! Colours are in 0..1.

use std::f32::consts::TAU;

use engine::Rng;
use image::RgbImage;

/// Red, green, blue in 0..1.
pub type Colour = [f32; 3];
/// A point or a vector.
pub type Point = [f32; 2];

/// A square picture in the making.
pub struct Canvas {
    size: u32,
    pixels: Vec<Colour>,
}

/// How the inside of a shape is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// One colour.
    Solid,
    /// Only the border.
    Outline,
    /// Stripes of both colours.
    Stripes,
    /// Dots of one colour on the other.
    Dots,
    /// One half in each colour.
    Split,
}

/// Where and how a unit polygon is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Placement {
    pub centre: Point,
    /// Length of the unit.
    pub radius: f32,
    /// Rotation in radians.
    pub angle: f32,
    pub fill: Fill,
    pub ink: Colour,
    /// Second colour of [`Fill::Stripes`], [`Fill::Dots`] and [`Fill::Split`].
    pub second: Colour,
}

/// A number between `lo` and `hi`.
pub fn uniform(rng: &mut Rng, lo: f32, hi: f32) -> f32 {
    rng.range(lo.into(), hi.into()) as f32
}

/// A random colour that is clearly apart from those in `avoid`, or else the one of twenty that is furthest from them.
pub fn ink(rng: &mut Rng, avoid: &[Colour]) -> Colour {
    let gap = |c: &Colour| avoid.iter().map(|a| distance(*a, *c)).fold(f32::INFINITY, f32::min);
    let mut best = [0.0; 3];
    let mut widest = -1.0;
    for _ in 0..20 {
        let colour = std::array::from_fn(|_| uniform(rng, 0.0, 1.0));
        if gap(&colour) > widest {
            (best, widest) = (colour, gap(&colour));
        }
        if widest > 0.6 {
            break;
        }
    }
    best
}

/// Euclidean distance of two points or colours.
pub fn distance<const N: usize>(a: [f32; N], b: [f32; N]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

/// `a` with a `share` of `b`.
fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
}

impl Canvas {
    /// A background: a gradient between two related colours, with soft blotches and pixel noise. Also returns the mean
    /// of the two colours, so that inks can be chosen apart from it.
    pub fn textured(size: u32, rng: &mut Rng) -> (Canvas, Colour) {
        const CELLS: usize = 5;
        let from: Colour = std::array::from_fn(|_| uniform(rng, 0.1, 0.9));
        let to = from.map(|v| (v + uniform(rng, -0.2, 0.2)).clamp(0.0, 1.0));
        let (sin, cos) = uniform(rng, 0.0, TAU).sin_cos();
        let blotches: [[f32; CELLS + 1]; CELLS + 1] =
            std::array::from_fn(|_| std::array::from_fn(|_| uniform(rng, -0.08, 0.08)));
        let noise = rng.range(0.01, 0.05);
        let mut pixels = Vec::with_capacity((size * size) as usize);
        for y in 0..size {
            for x in 0..size {
                let (u, v) = ((x as f32 + 0.5) / size as f32, (y as f32 + 0.5) / size as f32);
                let share = (0.5 + (u - 0.5) * cos + (v - 0.5) * sin).clamp(0.0, 1.0);
                let soft = bilinear(&blotches, u * CELLS as f32, v * CELLS as f32);
                let grain = (rng.normal() * noise) as f32;
                pixels.push(mix(from, to, share).map(|c| c + soft + grain));
            }
        }
        (Canvas { size, pixels }, mix(from, to, 0.5))
    }

    /// Draws a polygon, whose corners are given in units of `placement.radius` around its centre.
    pub fn draw(&mut self, outline: &[Point], placement: &Placement) {
        let Placement { centre, radius, angle, .. } = *placement;
        let (sin, cos) = angle.sin_cos();
        let reach = 1.0 + radius * outline.iter().map(|p| distance(*p, [0.0; 2])).fold(0.0, f32::max);
        let first = |c: f32| (c - reach).floor().clamp(0.0, self.size as f32) as u32;
        let end = |c: f32| (c + reach).ceil().clamp(0.0, self.size as f32) as u32;
        for y in first(centre[1])..end(centre[1]) {
            for x in first(centre[0])..end(centre[0]) {
                let (dx, dy) = (x as f32 + 0.5 - centre[0], y as f32 + 0.5 - centre[1]);
                let local = [(dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / radius];
                let edge = signed_distance(outline, local) * radius;
                let (colour, cover) = placement.paint(local, edge);
                let pixel = &mut self.pixels[(y * self.size + x) as usize];
                *pixel = mix(*pixel, colour, cover);
            }
        }
    }

    /// The picture in 8 bits.
    pub fn finish(self) -> RgbImage {
        let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
        let bytes = self.pixels.into_iter().flat_map(|c| c.map(byte)).collect();
        RgbImage::from_raw(self.size, self.size, bytes).expect("three bytes a pixel")
    }
}

impl Placement {
    /// Colour and coverage of a pixel at `local` (in units of the radius), `edge` pixels outside the outline.
    fn paint(&self, local: Point, edge: f32) -> (Colour, f32) {
        let cover = |edge: f32| (0.5 - edge).clamp(0.0, 1.0);
        // Softens the boundary between the two colours over one pixel. `d` is in units of the radius.
        let blend = |d: f32| mix(self.ink, self.second, cover(d * self.radius));
        let wave = |v: f32, period: f32| ((v / period).rem_euclid(1.0) - 0.5).abs() * period;
        match self.fill {
            Fill::Solid => (self.ink, cover(edge)),
            Fill::Outline => {
                let half = (self.radius * 0.09).max(0.7);
                (self.ink, cover((edge + half).abs() - half))
            }
            Fill::Stripes => (blend(wave(local[0], 0.5) - 0.125), cover(edge)),
            Fill::Dots => {
                let dot = [wave(local[0], 0.5), wave(local[1], 0.5)];
                (blend(distance(dot, [0.0; 2]) - 0.15), cover(edge))
            }
            Fill::Split => (blend(local[1]), cover(edge)),
        }
    }
}

/// The value at (x, y) between the points of a grid.
fn bilinear<const N: usize>(grid: &[[f32; N]; N], x: f32, y: f32) -> f32 {
    let (i, j) = ((x as usize).min(N - 2), (y as usize).min(N - 2));
    let (u, v) = (x - i as f32, y - j as f32);
    let line = |row: &[f32; N]| row[i] * (1.0 - u) + row[i + 1] * u;
    line(&grid[j]) * (1.0 - v) + line(&grid[j + 1]) * v
}

/// Distance of a point to the border of a polygon, negative inside (even-odd rule).
fn signed_distance(outline: &[Point], p: Point) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let ends = outline.iter().cycle().skip(1);
    for (&[ax, ay], &[bx, by]) in outline.iter().zip(ends) {
        let (ex, ey, wx, wy) = (bx - ax, by - ay, p[0] - ax, p[1] - ay);
        let along = ((wx * ex + wy * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
        nearest = nearest.min(distance([wx, wy], [ex * along, ey * along]));
        if (ay > p[1]) != (by > p[1]) && wx < ex * wy / ey {
            inside = !inside;
        }
    }
    if inside { -nearest } else { nearest }
}

/// Points on a circle arc around the origin.
pub fn arc(radius: f32, from: f32, to: f32, points: usize) -> impl Iterator<Item = Point> {
    (0..points).map(move |i| {
        let (sin, cos) = (from + (to - from) * i as f32 / (points - 1) as f32).sin_cos();
        [radius * cos, radius * sin]
    })
}

/// `2 * points` corners, which alternate between two radii. Equal radii give a regular polygon.
pub fn star(points: usize, outer: f32, inner: f32) -> Vec<Point> {
    let corner = |i: usize| {
        let (sin, cos) = (TAU * i as f32 / (2 * points) as f32).sin_cos();
        let radius = if i.is_multiple_of(2) { outer } else { inner };
        [radius * cos, radius * sin]
    };
    (0..2 * points).map(corner).collect()
}
