//! The pictures of the drawn tasks. Lengths are for a picture of [`SIZE`] pixels a side and scale with its size.

use std::f32::consts::{FRAC_PI_2, PI, TAU};

use engine::Rng;
use image::RgbImage;

use super::paint::{Canvas, Colour, Fill, Placement, Point, arc, distance, ink, star, uniform};

/// Pixels a side that the tasks are designed for.
pub const SIZE: u32 = 32;

/// Shapes that differ by more than rotation and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Disc,
    Square,
    Triangle,
    Bar,
    Star,
    Cross,
    HalfDisc,
    Crescent,
    Arrow,
    Ell,
}

/// All shapes, in the order of the labels.
pub const SHAPES: [Shape; 10] = [
    Shape::Disc,
    Shape::Square,
    Shape::Triangle,
    Shape::Bar,
    Shape::Star,
    Shape::Cross,
    Shape::HalfDisc,
    Shape::Crescent,
    Shape::Arrow,
    Shape::Ell,
];

/// All fill styles, in the order of the labels.
pub const FILLS: [Fill; 5] = [Fill::Solid, Fill::Outline, Fill::Stripes, Fill::Dots, Fill::Split];

/// Shapes that can be told from a cross even at a few pixels.
const COMPACT: [Shape; 4] = [Shape::Disc, Shape::Square, Shape::Triangle, Shape::HalfDisc];

impl Shape {
    /// The corners of a polygon of about unit radius. The arrow points along the x axis.
    fn outline(self) -> Vec<Point> {
        let bar = |x: f32, y: f32| vec![[-x, -y], [x, -y], [x, y], [-x, y]];
        match self {
            Shape::Disc => arc(0.9, 0.0, TAU * 23.0 / 24.0, 24).collect(),
            Shape::Square => bar(0.75, 0.75),
            Shape::Triangle => arc(1.05, 0.0, TAU * 2.0 / 3.0, 3).collect(),
            Shape::Bar => bar(1.1, 0.35),
            Shape::Star => star(5, 1.1, 0.45),
            Shape::Cross => {
                const T: f32 = 0.32;
                let arm = [[1.0, -T], [1.0, T], [T, T]];
                let turn = |quarter: usize, [x, y]: Point| match quarter {
                    0 => [x, y],
                    1 => [-y, x],
                    2 => [-x, -y],
                    _ => [y, -x],
                };
                (0..4).flat_map(|quarter| arm.map(|p| turn(quarter, p))).collect()
            }
            Shape::HalfDisc => arc(1.0, -FRAC_PI_2, FRAC_PI_2, 13).map(|[x, y]| [x - 0.4, y]).collect(),
            Shape::Crescent => {
                let outer = arc(1.0, 0.9, TAU - 0.9, 17);
                let inner = arc(0.8, TAU - 1.35, 1.35, 15).map(|[x, y]| [x + 0.43, y]);
                outer.chain(inner).collect()
            }
            Shape::Arrow => arrow(0.25, 0.6, 0.1),
            Shape::Ell => {
                vec![[-0.8, -0.9], [-0.15, -0.9], [-0.15, 0.25], [0.8, 0.25], [0.8, 0.9], [-0.8, 0.9]]
            }
        }
    }
}

/// An arrow along the x axis. `shaft` and `head` are half the widths of these, and `neck` is where the head begins.
fn arrow(shaft: f32, head: f32, neck: f32) -> Vec<Point> {
    vec![
        [-1.0, -shaft],
        [neck, -shaft],
        [neck, -head],
        [1.0, 0.0],
        [neck, head],
        [neck, shaft],
        [-1.0, shaft],
    ]
}

/// A background and what is drawn on it.
pub struct Scene {
    canvas: Canvas,
    /// The mean colour of the background.
    ground: Colour,
    /// Pixels of this picture for one pixel of the design.
    unit: f32,
}

/// The circle that an object stays in.
#[derive(Debug, Clone, Copy)]
struct Spot {
    centre: Point,
    radius: f32,
}

impl Scene {
    /// An empty scene of `size` x `size` pixels.
    pub fn new(size: u32, rng: &mut Rng) -> Self {
        let (canvas, ground) = Canvas::textured(size, rng);
        Scene { canvas, ground, unit: size as f32 / SIZE as f32 }
    }

    /// The picture.
    pub fn finish(self) -> RgbImage {
        self.canvas.finish()
    }

    /// `label + 1` objects that share about the same total area however many they are.
    pub fn count(&mut self, label: u32, rng: &mut Rng) {
        let mut area = uniform(rng, 90.0, 190.0);
        let spots = loop {
            let shares: Vec<f32> = (0..=label).map(|_| uniform(rng, 0.5, 1.5)).collect();
            let total: f32 = shares.iter().sum();
            let radius = |share: &f32| (share / total * area / PI).sqrt().clamp(1.9, 6.5);
            let radii: Vec<f32> = shares.iter().map(radius).collect();
            match scatter(&radii, rng) {
                Some(spots) => break spots,
                // Too crowded, so everything becomes a little smaller.
                None => area *= 0.9,
            }
        };
        for spot in spots {
            self.compact(spot, rng);
        }
    }

    /// A bar at orientation `label` of 8 over half a turn, which varies by up to a quarter of a step either way.
    pub fn orientation(&mut self, label: u32, rng: &mut Rng) {
        let step = PI / 8.0;
        let angle = (label as f32 + uniform(rng, -0.25, 0.25)) * step;
        let radius = uniform(rng, 8.0, 13.0);
        let half = uniform(rng, 0.12, 0.25);
        let bar = [[-1.0, -half], [1.0, -half], [1.0, half], [-1.0, half]];
        let spot = Spot { centre: within(radius, rng), radius };
        self.object(&bar, spot, angle, Fill::Solid, rng);
    }

    /// A cross with its centre in cell `label` of a 4x4 grid, row by row.
    pub fn position(&mut self, label: u32, rng: &mut Rng) {
        const CELL: f32 = SIZE as f32 / 4.0;
        let radius = uniform(rng, 3.0, 5.0);
        let mut coordinate = |cell: u32| (cell as f32 + 0.5) * CELL + uniform(rng, -3.0, 3.0);
        let centre = [coordinate(label % 4), coordinate(label / 4)];
        let angle = uniform(rng, 0.0, TAU);
        self.object(&Shape::Cross.outline(), Spot { centre, radius }, angle, Fill::Solid, rng);
    }

    /// Shape `label / 5` in fill style `label % 5`, large, over up to three small discs.
    pub fn shapes(&mut self, label: u32, rng: &mut Rng) {
        let (shape, fill) = (SHAPES[label as usize / FILLS.len()], FILLS[label as usize % FILLS.len()]);
        for _ in 0..rng.below(4) {
            let radius = uniform(rng, 1.0, 3.0);
            let spot = Spot { centre: within(radius, rng), radius };
            self.object(&Shape::Disc.outline(), spot, 0.0, Fill::Solid, rng);
        }
        let radius = uniform(rng, 8.0, 13.0);
        let spot = Spot { centre: within(radius, rng), radius };
        let angle = uniform(rng, 0.0, TAU);
        self.object(&shape.outline(), spot, angle, fill, rng);
    }

    /// A small solid object of any compact shape.
    fn compact(&mut self, spot: Spot, rng: &mut Rng) {
        let outline = pick(&COMPACT, rng).outline();
        let angle = uniform(rng, 0.0, TAU);
        self.object(&outline, spot, angle, Fill::Solid, rng);
    }

    /// Draws an outline in colours apart from the background.
    fn object(&mut self, outline: &[Point], spot: Spot, angle: f32, fill: Fill, rng: &mut Rng) {
        let first = ink(rng, &[self.ground]);
        let second = ink(rng, &[self.ground, first]);
        let centre = spot.centre.map(|c| c * self.unit);
        let radius = spot.radius * self.unit;
        self.canvas.draw(outline, &Placement { centre, radius, angle, fill, ink: first, second });
    }
}

/// A random centre for a circle that lies inside the picture.
fn within(radius: f32, rng: &mut Rng) -> Point {
    let side = SIZE as f32;
    std::array::from_fn(|_| uniform(rng, radius + 0.5, side - radius - 0.5))
}

/// A circle that keeps apart from the others, if fifty tries find one.
fn free(taken: &[Spot], radius: f32, rng: &mut Rng) -> Option<Spot> {
    const GAP: f32 = 1.2;
    let apart = |spot: &Spot| {
        taken.iter().all(|other| distance(other.centre, spot.centre) > other.radius + spot.radius + GAP)
    };
    (0..50).map(|_| Spot { centre: within(radius, rng), radius }).find(apart)
}

/// Circles of these radii, apart from each other. `None` if it is too crowded.
fn scatter(radii: &[f32], rng: &mut Rng) -> Option<Vec<Spot>> {
    let mut spots = Vec::with_capacity(radii.len());
    for &radius in radii {
        spots.push(free(&spots, radius, rng)?);
    }
    Some(spots)
}

/// One of the items, each with the same probability.
fn pick<T: Copy>(items: &[T], rng: &mut Rng) -> T {
    items[rng.below(items.len() as u32) as usize]
}
