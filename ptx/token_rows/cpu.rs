//! Token rows on the CPU: a run is one piece of memory in each sample.

use engine::Element;
use rayon::prelude::*;

use super::call::Run;
use crate::rows::add_times;

/// Adds a run of rows of every sample of `from` to its rows of `to`.
pub fn add<E: Element>(run: Run, from: &[E], to: &mut [E]) {
    let len = run.count * run.d;
    if len == 0 {
        return;
    }
    let samples = to.par_chunks_mut(run.to.l * run.d).zip(from.par_chunks(run.from.l * run.d));
    samples.for_each(|(to, from)| {
        add_times(1.0, &from[run.from.first * run.d..][..len], &mut to[run.to.first * run.d..][..len]);
    });
}
