//! SGD with momentum on the CPU: one pass, memory-bound.

use engine::simd_fn;
use rayon::prelude::*;

/// Elements per task.
const CHUNK: usize = 1 << 14;

/// With `[lr, momentum, decay]`.
pub fn step(factors: [f32; 3], p: &mut [f32], g: &[f32], buffer: &mut [f32]) {
    let chunks = p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(buffer.par_chunks_mut(CHUNK));
    chunks.for_each(|((p, g), buffer)| step_chunk(factors, p, g, buffer));
}

simd_fn! {
    fn step_chunk<S>(s, factors: [f32; 3], p: &mut [f32], g: &[f32], buffer: &mut [f32]) {
        let [lr, momentum, decay] = factors;
        for i in (0..p.len()).step_by(S::LANES) {
            let p_old = s.read(p, i);
            let grad = s.fma(s.splat(decay), p_old, s.read(g, i));
            let buffer_new = s.fma(s.splat(momentum), s.read(buffer, i), grad);
            s.write(buffer, i, buffer_new);
            s.write(p, i, s.fma(s.splat(-lr), buffer_new, p_old));
        }
    }
}
