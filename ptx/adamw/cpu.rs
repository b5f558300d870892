//! AdamW on the CPU: one pass, bound by memory.

use engine::simd_fn;
use rayon::prelude::*;

use super::call::Factors;

/// Elements per task.
const CHUNK: usize = 1 << 14;

/// Updates one tensor; the slices are of one length.
pub fn step(factors: &Factors, decay: bool, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    let factors = &Factors { shrink: if decay { factors.shrink } else { 1.0 }, ..*factors };
    let state = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    let chunks = p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(state);
    chunks.for_each(|((p, g), (m, v))| step_chunk(factors, p, g, m, v));
}

simd_fn! {
    fn step_chunk<S>(s, f: &Factors, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for i in (0..p.len()).step_by(S::LANES) {
            let (g, m_old) = (s.read(g, i), s.read(m, i));
            let m_new = s.fma(s.splat(f.new_m), s.sub(g, m_old), m_old);
            let v_new = s.fma(s.mul(s.splat(f.new_v), g), g, s.mul(s.splat(f.old_v), s.read(v, i)));
            s.write(m, i, m_new);
            s.write(v, i, v_new);
            let root = s.fma(s.sqrt(v_new), s.splat(f.correct), s.splat(f.eps));
            let update = s.mul(m_new, s.recip(root));
            let shrunk = s.mul(s.splat(f.shrink), s.read(p, i));
            s.write(p, i, s.fma(s.splat(-f.rate), update, shrunk));
        }
    }
}
