//! Copies, casts and sums of whole slices.

use rayon::prelude::*;

use super::Element;
use crate::simd_fn;

/// Elements that a thread takes at a time.
const CHUNK: usize = 1 << 16;

/// Copies elements, by all threads.
pub(crate) fn copy<E: Element>(from: &[E], to: &mut [E]) {
    let chunks = to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK));
    chunks.for_each(|(to, from)| to.copy_from_slice(from));
}

/// Writes elements in another type, by all threads.
pub(crate) fn convert<F: Element, T: Element>(from: &[F], to: &mut [T]) {
    let chunks = to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK));
    chunks.for_each(|(to, from)| convert_chunk(from, to));
}

/// Adds elements of any type, by all threads, with sums in f32.
pub(crate) fn add<T: Element, F: Element>(to: &mut [T], from: &[F]) {
    let chunks = to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK));
    chunks.for_each(|(to, from)| add_chunk(to, from));
}

simd_fn! {
    fn convert_chunk<S, F, T>(s, from: &[F], to: &mut [T]) {
        for i in (0..from.len()).step_by(S::LANES) {
            s.write(to, i, s.read(from, i));
        }
    }
}

simd_fn! {
    fn add_chunk<S, T, F>(s, to: &mut [T], from: &[F]) {
        for i in (0..from.len()).step_by(S::LANES) {
            let sum = s.add(s.read(to, i), s.read(from, i));
            s.write(to, i, sum);
        }
    }
}
