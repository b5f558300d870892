//! Prompt rows on the CPU: one pass, one sample a task; the prompts' gradient one prompt a task. Bound by memory.

use engine::Element;
use engine::rng::philox;
use rayon::prelude::*;

use super::call::{Maps, Mask, PROMPT};
use crate::rows::add_times;

/// Writes every sample of `to`, or adds to it when told: each row the row of `from` that `map` names, or a prompt `[n d]`
/// under its mask. Absent prompts are zeros.
pub(super) fn place<E: Element>(
    map: &[u32],
    d: usize,
    from: &[E],
    (prompt, mask): (Option<&[f32]>, Option<&Mask>),
    to: &mut [E],
    accumulate: bool,
) {
    if to.is_empty() {
        return;
    }
    let from_sample = from.len() / (to.len() / (map.len() * d));
    to.par_chunks_mut(map.len() * d).enumerate().for_each(|(sample, to)| {
        let from = &from[sample * from_sample..][..from_sample];
        for (&row, to) in map.iter().zip(to.chunks_exact_mut(d)) {
            match (row.checked_sub(PROMPT), prompt) {
                (None, _) => {
                    let from = &from[row as usize * d..][..d];
                    match accumulate {
                        true => add_times(1.0, from, to),
                        false => to.copy_from_slice(from),
                    }
                }
                (Some(j), Some(prompt)) => {
                    let prompt = &prompt[j as usize * d..][..d];
                    match mask {
                        None => to.iter_mut().zip(prompt).for_each(|(t, p)| *t = E::from_f32(*p)),
                        Some(mask) => mask.apply(sample, j, prompt, |i, masked| to[i] = E::from_f32(masked)),
                    }
                }
                (Some(_), None) if accumulate => {}
                (Some(_), None) => to.fill(E::ZERO),
            }
        }
    });
}

/// Adds to `grad [n d]` the rows of `dy` that hold the prompts, under their masks, samples in order.
pub(super) fn grad_prompts<E: Element>(
    maps: &Maps,
    d: usize,
    mask: Option<&Mask>,
    dy: &[E],
    grad: &mut [f32],
) {
    if grad.is_empty() {
        return;
    }
    grad.par_chunks_mut(d).zip(&maps.rows).enumerate().for_each(|(j, (grad, &row))| {
        let mut sum = vec![0.0; d];
        for (sample, dy) in dy.chunks_exact(maps.y.len() * d).enumerate() {
            let dy = &dy[row as usize * d..][..d];
            match mask {
                None => add_times(1.0, dy, &mut sum),
                Some(mask) => mask.apply(sample, j as u32, dy, |i, masked| sum[i] += masked),
            }
        }
        grad.iter_mut().zip(&sum).for_each(|(g, s)| *g += s);
    });
}

impl Mask {
    /// Gives `put` the elements of prompt `j` in a sample, by number, each times its factor.
    fn apply<E: Element>(&self, sample: usize, j: u32, row: &[E], mut put: impl FnMut(usize, f32)) {
        let keys = self.keys.as_slice();
        let key = [keys[2 * sample] as u32, keys[2 * sample + 1] as u32];
        for (group, values) in row.chunks(4).enumerate() {
            let words = philox(key, [group as u32, j, self.stream, 0]);
            for (i, (value, word)) in values.iter().zip(words).enumerate() {
                put(4 * group + i, if word < self.threshold { 0.0 } else { value.to_f32() * self.scale });
            }
        }
    }
}
