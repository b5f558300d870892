//! The moving average on the CPU: one pass, bound by memory.

use engine::simd_fn;
use rayon::prelude::*;

/// Elements per task.
const CHUNK: usize = 1 << 14;

/// Moves one average; the slices are of one length.
pub fn step(rate: f32, average: &mut [f32], value: &[f32]) {
    let chunks = average.par_chunks_mut(CHUNK).zip(value.par_chunks(CHUNK));
    chunks.for_each(|(average, value)| step_chunk(rate, average, value));
}

simd_fn! {
    fn step_chunk<S>(s, rate: f32, average: &mut [f32], value: &[f32]) {
        for i in (0..average.len()).step_by(S::LANES) {
            let old = s.read(average, i);
            s.write(average, i, s.fma(s.splat(rate), s.sub(s.read(value, i), old), old));
        }
    }
}
