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

/// Resizes a position embedding `[1, 1 + side*side, d]` to `[1, 1 + h*w, d]` for a grid of `(h, w)` patches. The class
/// row is carried over. A grid of equal size returns the embedding unchanged.
///
/// The resize is PyTorch's `interpolate(mode="bicubic", align_corners=False)`: Keys' kernel with a = -0.75, repeated
/// borders, and no low-pass filter when the grid shrinks.
///
/// # Errors
/// An embedding of another shape, or an empty grid.
pub fn resize_pos_embed(embedding: &Tensor, grid: (usize, usize), class_row: ClassRow) -> Result<Tensor> {
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
    let (taps_y, taps_x) = (taps(side, grid.0), taps(side, grid.1));
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

/// For each new position along one axis, four old positions and their weights.
fn taps(old: usize, new: usize) -> Vec<[(usize, f32); 4]> {
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    const A: f32 = -0.75;
    let scale = old as f32 / new as f32;
    let tap = |i: usize| {
        let position = (i as f32 + 0.5) * scale - 0.5;
        let left = position.floor();
        let t = position - left;
        let at = |shift: isize| (left as isize + shift).clamp(0, old as isize - 1) as usize;
        [(at(-1), far(t + 1.0)), (at(0), near(t)), (at(1), near(1.0 - t)), (at(2), far(2.0 - t))]
    };
    (0..new).map(tap).collect()
}
