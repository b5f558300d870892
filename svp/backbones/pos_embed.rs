//! Resizes the position embedding for another grid of patches.

use engine::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Place of the class token's row among the rows of the patches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassRow {
    /// At half the number of patches, rounded down, which is where Vim puts the token.
    #[default]
    Middle,
    /// At 0, as the published loader assumes of Vim too. At another size this puts half of the rows one place off and
    /// blends the class row into the grid. It is wrong, but needed to load as the published program loads
    /// (`docs/recipe.md`, "Loading a checkpoint").
    First,
}

impl ClassRow {
    fn index(self, patches: usize) -> usize {
        match self {
            ClassRow::Middle => patches / 2,
            ClassRow::First => 0,
        }
    }
}

/// How values between the rows of a grid are found, as published programs do it. Borders are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Keys' cubic kernel with a = -0.5, which widens where the grid shrinks: PyTorch's
    /// `interpolate(mode="bicubic", antialias=True)`, as in timm.
    Timm,
    /// Keys' cubic kernel with a = -0.75, without a low-pass filter: PyTorch's `interpolate(mode="bicubic")`, as in Vim,
    /// DeiT and MAE.
    Bicubic,
    /// Bilinear between the centres of patches, as timm reads Google's files.
    Bilinear,
    /// Bilinear with the corners of both grids in one place: `scipy.ndimage.zoom(order=1)`, as VPT reads Google's files.
    Zoom,
    /// As `Bicubic`, with the scale of a grid that is a tenth of a patch larger, as in DINO.
    Dino,
}

/// Resizes a position embedding `[1, 1 + side*side, d]` to `[1, 1 + h*w, d]` for a grid of `(h, w)` patches. The class
/// row is carried over. A grid of equal size returns the embedding unchanged.
///
/// # Errors
/// An embedding of another shape, or an empty grid.
pub fn resize_pos_embed(
    embedding: &Tensor,
    grid: (usize, usize),
    class_row: ClassRow,
    by: Interpolation,
) -> Result<Tensor> {
    let &[1, rows, d] = embedding.shape() else {
        return Err(refuse(embedding, "its shape must be [1, 1 + side*side, d]"));
    };
    let patches = rows.saturating_sub(1);
    let side = patches.isqrt();
    if patches == 0 || side * side != patches {
        return Err(refuse(embedding, "its patches must form a square grid"));
    }
    if grid.0 == 0 || grid.1 == 0 {
        return Err(refuse(embedding, "the new grid must not be empty"));
    }
    if grid == (side, side) {
        return Ok(embedding.clone());
    }
    let (class_from, class_to) = (class_row.index(patches), class_row.index(grid.0 * grid.1));
    let rows: Vec<&[f32]> = embedding.as_slice().chunks_exact(d.max(1)).collect();
    let patch = |y: usize, x: usize| {
        let i = y * side + x;
        rows[i + usize::from(i >= class_from)]
    };
    let (taps_y, taps_x) = (by.taps(side, grid.0), by.taps(side, grid.1));
    let mut out = Vec::with_capacity((1 + grid.0 * grid.1) * d);
    for i in 0..grid.0 * grid.1 {
        if i == class_to {
            out.extend_from_slice(rows[class_from]);
        }
        let (y, x) = (&taps_y[i / grid.1], &taps_x[i % grid.1]);
        for channel in 0..d {
            let row = |source_y| -> f32 { x.iter().map(|&(sx, w)| w * patch(source_y, sx)[channel]).sum() };
            out.push(y.iter().map(|&(sy, w)| w * row(sy)).sum());
        }
    }
    Ok(Tensor::from_vec(out, &[1, 1 + grid.0 * grid.1, d]))
}

fn refuse(embedding: &Tensor, what: &str) -> Error {
    let at = format!("position embedding {:?}", embedding.shape());
    Error::input(at, format!("cannot be resized: {what}"), "give a checkpoint made for square images")
}

/// Keys' cubic kernel at a distance of `x`, in rows, which reaches to 2.
fn cubic(x: f32, a: f32) -> f32 {
    match x.abs() {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
        _ => 0.0,
    }
}

/// Old positions along one axis, with their weights.
type Taps = Vec<(usize, f32)>;

impl Interpolation {
    /// What each of `new` positions along one axis is made of.
    fn taps(self, old: usize, new: usize) -> Vec<Taps> {
        let scale = match self {
            Interpolation::Dino => old as f32 / (new as f32 + 0.1),
            _ => old as f32 / new as f32,
        };
        let centred = |i: usize| (i as f32 + 0.5) * scale - 0.5;
        let tap = |i: usize| match self {
            Interpolation::Timm => widened(old, scale, i),
            Interpolation::Bicubic | Interpolation::Dino => {
                between(old, centred(i), -1..=2, |x| cubic(x, -0.75))
            }
            Interpolation::Bilinear => between(old, centred(i).max(0.0), 0..=1, |x| 1.0 - x.abs()),
            Interpolation::Zoom => {
                let position = (i * (old - 1)) as f32 / (new.max(2) - 1) as f32;
                between(old, position, 0..=1, |x| 1.0 - x.abs())
            }
        };
        (0..new).map(tap).collect()
    }
}

/// The old positions around `position`, those beyond a border moved onto it.
fn between(
    old: usize,
    position: f32,
    shifts: std::ops::RangeInclusive<isize>,
    weight: impl Fn(f32) -> f32,
) -> Taps {
    let left = position.floor();
    let tap = |shift: isize| {
        let at = (left as isize + shift).clamp(0, old as isize - 1) as usize;
        (at, weight(position - left - shift as f32))
    };
    shifts.map(tap).collect()
}

/// The old positions under the kernel of new position `i`. The kernel is as wide as `scale` old positions are to a new one
/// where the grid shrinks; what reaches beyond a border is cut off, and the weights sum to one.
fn widened(old: usize, scale: f32, i: usize) -> Taps {
    let wide = scale.max(1.0);
    let (centre, reach) = (scale * (i as f32 + 0.5), 2.0 * wide);
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(old);
    let weight = |at: usize| cubic((at as f32 - centre + 0.5) / wide, -0.5);
    let sum: f32 = (first..end).map(weight).sum();
    (first..end).map(|at| (at, weight(at) / sum)).collect()
}
