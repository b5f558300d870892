//! The bounds on the CPU: one pass, bound by memory.

use rayon::prelude::*;

/// Elements per task.
const CHUNK: usize = 1 << 14;

/// Moves values to the bounds; `f32::clamp` leaves NaN as it is.
pub fn clamp(x: &mut [f32], low: f32, high: f32) {
    x.par_chunks_mut(CHUNK).for_each(|x| x.iter_mut().for_each(|x| *x = x.clamp(low, high)));
}
