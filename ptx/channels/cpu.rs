//! Chosen channels on the CPU: a row a piece of memory.

use engine::Element;
use rayon::prelude::*;

use super::call::Dims;
use crate::rows::PIECE;

/// The places of the channels in a row.
fn places(channels: &[f32], d: usize) -> Vec<usize> {
    channels.iter().map(|&c| (c as usize).min(d - 1)).collect()
}

/// Writes the chosen channels of `x [rows d]` to `y [rows n]`, or adds them.
pub fn gather<E: Element>(dims: Dims, x: &[E], channels: &[f32], y: &mut [E], accumulate: bool) {
    let Dims { d, n, .. } = dims;
    if y.is_empty() {
        return;
    }
    let places = places(channels, d);
    y.par_chunks_mut(PIECE * n).zip(x.par_chunks(PIECE * d)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(d)) {
            let each = y.iter_mut().zip(&places);
            match accumulate {
                true => each.for_each(|(y, &place)| *y = E::from_f32(y.to_f32() + x[place].to_f32())),
                false => each.for_each(|(y, &place)| *y = x[place]),
            }
        }
    });
}

/// Adds `s [rows n]` to the chosen channels of `y [rows d]`.
pub fn add<E: Element>(dims: Dims, s: &[E], channels: &[f32], y: &mut [E]) {
    let Dims { d, n, .. } = dims;
    if s.is_empty() {
        return;
    }
    let places = places(channels, d);
    y.par_chunks_mut(PIECE * d).zip(s.par_chunks(PIECE * n)).for_each(|(y, s)| {
        for (y, s) in y.chunks_exact_mut(d).zip(s.chunks_exact(n)) {
            for (s, &place) in s.iter().zip(&places) {
                y[place] = E::from_f32(y[place].to_f32() + s.to_f32());
            }
        }
    });
}
