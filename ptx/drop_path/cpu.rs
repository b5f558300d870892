//! Drop path on the CPU, in place.

use rayon::prelude::*;

/// Scales each run of `width` values by its `keep`.
pub fn scale(width: usize, keep: &[f32], x: &mut [f32]) {
    x.par_chunks_mut(width).zip(keep).for_each(|(x, k)| x.iter_mut().for_each(|x| *x *= k));
}
