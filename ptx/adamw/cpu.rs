//! AdamW on the CPU: one pass, memory-bound.

use engine::simd_fn;
use rayon::prelude::*;

use super::Settings;

/// Elements per task.
const CHUNK: usize = 1 << 14;

/// The settings as the elements need them.
pub struct Factors {
    /// `1 - lr wd`, where a tensor decays.
    pub shrink: f32,
    /// `1 - b1`, `b2`, `1 - b2`
    pub new_m: f32,
    pub old_v: f32,
    pub new_v: f32,
    /// `lr / (1 - b1^t)`, `1 / sqrt(1 - b2^t)`
    pub rate: f32,
    pub correct: f32,
    pub eps: f32,
}

impl Factors {
    pub fn new(settings: &Settings, number: u64) -> Self {
        let Settings { lr, betas: [b1, b2], eps, weight_decay } = *settings;
        let t = number as f64;
        Factors {
            shrink: (1.0 - lr * weight_decay) as f32,
            new_m: (1.0 - b1) as f32,
            old_v: b2 as f32,
            new_v: (1.0 - b2) as f32,
            rate: (lr / (1.0 - b1.powf(t))) as f32,
            correct: (1.0 - b2.powf(t)).sqrt().recip() as f32,
            eps: eps as f32,
        }
    }

    /// In the order of the fields, which is the kernel's.
    pub fn to_array(&self) -> [f32; 7] {
        [self.shrink, self.new_m, self.old_v, self.new_v, self.rate, self.correct, self.eps]
    }

    pub fn from_slice(values: &[f32]) -> Self {
        let [shrink, new_m, old_v, new_v, rate, correct, eps] = values[..] else { panic!("checked: seven") };
        Factors { shrink, new_m, old_v, new_v, rate, correct, eps }
    }
}

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
            let kept = s.mul(s.splat(f.shrink), s.read(p, i));
            s.write(p, i, s.fma(s.splat(-f.rate), update, kept));
        }
    }
}
