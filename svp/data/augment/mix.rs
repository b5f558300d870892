//! Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019) of whole batches, as timm's `Mixup` in batch mode
//! (`docs/recipe.md`).
//!
//! In a batch of b samples, the partner of sample i is sample b - 1 - i. There is one decision and one share a batch.

use engine::Rng;

/// When batches are mixed, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Parameter of the Beta distribution of mixup; 0 turns it off.
    pub mixup: f64,
    /// Parameter of the Beta distribution of cutmix; 0 turns it off.
    pub cutmix: f64,
    /// The share of the batches that are mixed.
    pub prob: f64,
    /// The share of mixed batches that get cutmix, where both are on.
    pub switch_prob: f64,
}

/// What is done to a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mixing {
    /// The batch stays as it is.
    Nothing,
    /// Each image becomes this share of itself and the rest of its partner.
    Blend(f64),
    /// A box of each image comes from its partner.
    Paste {
        /// First row of the box, and the one behind its last.
        rows: [usize; 2],
        /// First column of the box, and the one behind its last.
        columns: [usize; 2],
    },
}

impl Mix {
    /// Draws what is done to a batch of images of `size` pixels a side.
    pub fn draw(&self, size: usize, rng: &mut Rng) -> Mixing {
        if self.mixup + self.cutmix == 0.0 || !rng.chance(self.prob) {
            return Mixing::Nothing;
        }
        let cut = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => rng.chance(self.switch_prob),
            (_, cutmix) => cutmix,
        };
        if !cut {
            return Mixing::Blend(beta(self.mixup, rng));
        }
        let share = (1.0 - beta(self.cutmix, rng)).sqrt();
        let half = (size as f64 * share) as usize / 2;
        let mut span = || {
            let centre = rng.below(size as u32) as usize;
            [centre.saturating_sub(half), (centre + half).min(size)]
        };
        let rows = span();
        Mixing::Paste { rows, columns: span() }
    }
}

impl Mixing {
    /// Mixes `images [b 3 size size]`. Returns the share of a sample's own label in its target.
    pub fn apply(&self, images: &mut [f32], size: usize) -> f32 {
        match *self {
            Mixing::Nothing => 1.0,
            Mixing::Blend(share) => {
                blend_mirrored(images, 3 * size * size, share as f32);
                share as f32
            }
            Mixing::Paste { rows, columns } => {
                for_mirrored(images, 3 * size * size, |a, b| {
                    let planes = a.chunks_exact_mut(size * size).zip(b.chunks_exact_mut(size * size));
                    for (a, b) in planes {
                        for row in rows[0]..rows[1] {
                            let span = row * size + columns[0]..row * size + columns[1];
                            a[span.clone()].swap_with_slice(&mut b[span]);
                        }
                    }
                });
                let pasted = (rows[1] - rows[0]) * (columns[1] - columns[0]);
                (1.0 - pasted as f64 / (size * size) as f64) as f32
            }
        }
    }
}

/// Each of the rows of `row` values becomes `share` times itself plus 1 - `share` times its partner, row b - 1 - i for
/// row i of b.
pub fn blend_mirrored(values: &mut [f32], row: usize, share: f32) {
    for_mirrored(values, row, |a, b| {
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (share * *a + (1.0 - share) * *b, share * *b + (1.0 - share) * *a);
        }
    });
}

/// Calls `each` with every row of the first half and its partner. A row in the middle is its own partner and is left
/// out.
fn for_mirrored(values: &mut [f32], row: usize, mut each: impl FnMut(&mut [f32], &mut [f32])) {
    let half = values.len() / row / 2;
    let (first, second) = values.split_at_mut(half * row);
    for (a, b) in first.chunks_exact_mut(row).zip(second.rchunks_exact_mut(row)) {
        each(a, b);
    }
}

/// A draw of Beta(a, a): of two draws of Gamma(a), the share of the first in their sum.
fn beta(a: f64, rng: &mut Rng) -> f64 {
    loop {
        let (x, y) = (gamma(a, rng), gamma(a, rng));
        // For small a, both can be 0.
        if x + y > 0.0 {
            return x / (x + y);
        }
    }
}

/// A draw of Gamma(a, 1) (Marsaglia and Tsang, 2000).
fn gamma(a: f64, rng: &mut Rng) -> f64 {
    if a < 1.0 {
        let boost = (1.0 - rng.uniform()).powf(1.0 / a);
        return gamma(a + 1.0, rng) * boost;
    }
    let d = a - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = rng.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            return d * v;
        }
    }
}
