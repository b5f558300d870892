//! Stochastic depth: chooses, image by image, the block outputs that a training step leaves out.

use crate::{Result, streams};

/// The factors `[depth * additions b]` of every residual addition, of which a block has so many, for images at the
/// positions `samples` of their split. `rate` is that of the last block; that of block i is `rate i / (depth - 1)`
/// (`docs/recipe.md`, "Drop path"). The additions of a block are dropped independently.
///
/// # Errors
/// A rate outside 0 to 1.
pub fn factors(
    rate: f64,
    (depth, additions): (usize, usize),
    seed: u64,
    epoch: u32,
    samples: &[u32],
) -> Result<Vec<f32>> {
    let row = |i: usize| {
        let p = rate * (i / additions) as f64 / (depth.max(2) - 1) as f64;
        ptx::prompt_add_norm::keep_scales(seed, epoch, samples, streams::DROP_PATH + i as u32, p)
    };
    let rows: engine::Result<Vec<_>> = (0..depth * additions).map(row).collect();
    Ok(rows?.concat())
}
