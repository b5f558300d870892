//! Token rows on the CPU: a run is one piece of memory in each sample.

use rayon::prelude::*;

use super::call::Run;

/// Adds a run of rows of every sample of `from` to its rows of `to`.
pub fn add(run: Run, from: &[f32], to: &mut [f32]) {
    let len = run.count * run.d;
    if len == 0 {
        return;
    }
    let samples = to.par_chunks_mut(run.to.l * run.d).zip(from.par_chunks(run.from.l * run.d));
    samples.for_each(|(to, from)| {
        let (to, from) = (&mut to[run.to.first * run.d..][..len], &from[run.from.first * run.d..][..len]);
        to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
    });
}
