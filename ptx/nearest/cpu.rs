//! The nearest prototype on the CPU.

use engine::simd_fn;
use rayon::prelude::*;

/// Writes the number of the nearest prototype of each row of x.
pub fn nearest(d: usize, x: &[f32], prototypes: &[f32], numbers: &mut [f32]) {
    if d == 0 {
        return numbers.fill(0.0);
    }
    numbers.par_iter_mut().zip(x.par_chunks(d)).for_each(|(number, x)| {
        let (mut best, mut least) = (0, f32::NAN);
        for (j, prototype) in prototypes.chunks_exact(d).enumerate() {
            let distance = squared_distance(x, prototype);
            if j == 0 || distance < least {
                (best, least) = (j, distance);
            }
        }
        *number = best as f32;
    });
}

simd_fn! {
    fn squared_distance<S>(s, x: &[f32], p: &[f32]) -> f32 {
        let mut sum = s.splat(0.0);
        for i in (0..x.len()).step_by(S::LANES) {
            let apart = s.fma(s.splat(-1.0), s.read(p, i), s.read(x, i));
            sum = s.fma(apart, apart, sum);
        }
        s.sum(sum)
    }
}
