//! Prompt rows on the CPU: one pass, one sample a task; the prompts' gradient one prompt a task. Bound by memory.

use engine::rng::philox;
use rayon::prelude::*;

use super::call::{Maps, Mask, PROMPT};

/// Writes every sample of `to`, or adds to it when told: each row the row of `from` that `map` names, or a prompt `[n d]`
/// under its mask. Absent prompts are zeros.
pub(super) fn place(
    map: &[u32],
    d: usize,
    from: &[f32],
    (prompt, mask): (Option<&[f32]>, Option<&Mask>),
    to: &mut [f32],
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
                    if accumulate {
                        to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
                    } else {
                        to.copy_from_slice(from);
                    }
                }
                (Some(j), Some(prompt)) => {
                    to.copy_from_slice(&prompt[j as usize * d..][..d]);
                    mask.into_iter().for_each(|mask| mask.apply(sample, j, to));
                }
                (Some(_), None) if accumulate => {}
                (Some(_), None) => to.fill(0.0),
            }
        }
    });
}

/// Adds to `grad [n d]` the rows of `dy` that hold the prompts, under their masks, samples in order.
pub(super) fn grad_prompts(maps: &Maps, d: usize, mask: Option<&Mask>, dy: &[f32], grad: &mut [f32]) {
    if grad.is_empty() {
        return;
    }
    grad.par_chunks_mut(d).zip(&maps.rows).enumerate().for_each(|(j, (grad, &row))| {
        let (mut sum, mut masked) = (vec![0.0; d], vec![0.0; d]);
        for (sample, dy) in dy.chunks_exact(maps.y.len() * d).enumerate() {
            masked.copy_from_slice(&dy[row as usize * d..][..d]);
            mask.into_iter().for_each(|mask| mask.apply(sample, j as u32, &mut masked));
            sum.iter_mut().zip(&masked).for_each(|(s, v)| *s += v);
        }
        grad.iter_mut().zip(&sum).for_each(|(g, s)| *g += s);
    });
}

impl Mask {
    /// Multiplies the elements of prompt `j` in a sample by their factors.
    fn apply(&self, sample: usize, j: u32, row: &mut [f32]) {
        let keys = self.keys.as_slice();
        let key = [keys[2 * sample] as u32, keys[2 * sample + 1] as u32];
        for (group, values) in row.chunks_mut(4).enumerate() {
            let words = philox(key, [group as u32, j, self.stream, 0]);
            for (value, word) in values.iter_mut().zip(words) {
                *value = if word < self.threshold { 0.0 } else { *value * self.scale };
            }
        }
    }
}
