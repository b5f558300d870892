//! SiLU on the CPU: one pass, memory-bound.

use engine::simd_fn;
use rayon::prelude::*;

/// Elements per task.
const CHUNK: usize = 1 << 14;

pub fn forward(x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| forward_chunk(x, y));
}

/// Turns dy into dx in place.
pub fn backward(x: &[f32], dy: &mut [f32]) {
    dy.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(dy, x)| backward_chunk(x, dy));
}

simd_fn! {
    fn forward_chunk<S>(s, x: &[f32], y: &mut [f32]) {
        for i in (0..x.len()).step_by(S::LANES) {
            s.write(y, i, s.silu(s.read(x, i)));
        }
    }
}

simd_fn! {
    fn backward_chunk<S>(s, x: &[f32], dy: &mut [f32]) {
        for i in (0..x.len()).step_by(S::LANES) {
            let (_, slope) = s.silu_and_grad(s.read(x, i));
            let dx = s.mul(s.read(dy, i), slope);
            s.write(dy, i, dx);
        }
    }
}
