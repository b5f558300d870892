//! Random erasing in pixel mode, in which a box of the normalised picture becomes noise (Zhong et al. 2020). The
//! published settings are in `docs/recipe.md`.

use engine::Rng;

/// The smallest and the largest share of the picture that a box covers.
const AREA: (f64, f64) = (0.02, 1.0 / 3.0);
/// The height of a box over its width lies between this and its inverse.
const ASPECT: f64 = 0.3;
/// Draws before a picture is left alone.
const TRIES: usize = 10;

/// The rows and columns that become noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Hole {
    /// Draws a box in a picture of `size` pixels a side. `None` if none of ten draws fits, which happens with tiny
    /// pictures.
    pub fn draw(size: usize, rng: &mut Rng) -> Option<Hole> {
        let range = |rng: &mut Rng, below: usize| rng.below(below as u32 + 1) as usize;
        for _ in 0..TRIES {
            let area = rng.range(AREA.0, AREA.1) * (size * size) as f64;
            let aspect = rng.range(ASPECT.ln(), -ASPECT.ln()).exp();
            let side = |square: f64| square.sqrt().round_ties_even() as usize;
            let (height, width) = (side(area * aspect), side(area / aspect));
            if height < size && width < size {
                let (top, left) = (range(rng, size - height), range(rng, size - width));
                return Some(Hole { top, left, height, width });
            }
        }
        None
    }
}

/// With probability `share`, fills a box of `image [3 size size]` with standard normal noise, each value drawn for
/// itself.
pub fn erase(image: &mut [f32], size: usize, share: f64, rng: &mut Rng) {
    if !rng.chance(share) {
        return;
    }
    let Some(Hole { top, left, height, width }) = Hole::draw(size, rng) else { return };
    for plane in image.chunks_exact_mut(size * size) {
        for row in plane.chunks_exact_mut(size).skip(top).take(height) {
            noise(&mut row[left..left + width], rng);
        }
    }
}

/// Fills with standard normal values. Both values of each Box-Muller pair are used.
fn noise(out: &mut [f32], rng: &mut Rng) {
    for pair in out.chunks_mut(2) {
        // 24 bits are what f32 holds. The logarithm takes 1 less the number, which is in (0, 1].
        let unit = |bits: u32| (bits >> 8) as f32 / (1 << 24) as f32;
        let radius = (-2.0 * (1.0 - unit(rng.next_u32())).ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * unit(rng.next_u32())).sin_cos();
        pair.iter_mut().zip([radius * cos, radius * sin]).for_each(|(out, v)| *out = v);
    }
}
