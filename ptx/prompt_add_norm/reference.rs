//! Prompt add, residual add and norm in plain loops. Empty slices stand for absent inputs.

use num_traits::Float;

use super::call::EPS;
use crate::scalar::{silu, silu_grad};

/// The inputs of one call.
pub struct AddNorm<'a, T> {
    /// Tokens of an image.
    pub l: usize,
    /// Channels.
    pub d: usize,
    /// The token that gets no prompt.
    pub skip: Option<usize>,
    /// `[b l d]`
    pub h: &'a [T],
    /// `[b l d]`, or nothing.
    pub residual: &'a [T],
    /// Of each prompt `[generated, bias, scale row]`: `[b l d]`, `[d]`, `[d]`.
    pub prompts: Vec<[&'a [T]; 3]>,
    /// `[d]`
    pub weight: &'a [T],
    /// Drop path's factors `[b]`, or nothing.
    pub keep: &'a [T],
}

/// Gradients, shaped as the inputs.
pub struct Grads<T> {
    /// `[b l d]`
    pub h: Vec<T>,
    /// `[b l d]`
    pub residual: Vec<T>,
    /// Of each prompt `[generated, bias, scale row]`.
    pub prompts: Vec<[Vec<T>; 3]>,
    /// `[d]`
    pub weight: Vec<T>,
}

impl<T: Float> AddNorm<'_, T> {
    fn keep(&self, row: usize) -> T {
        if self.keep.is_empty() { T::one() } else { self.keep[row / self.l] }
    }

    fn prompted(&self, row: usize) -> bool {
        self.skip != Some(row % self.l)
    }

    fn inverse_rms(&self, row: &[T]) -> T {
        let squares = row.iter().fold(T::zero(), |sum, &v| sum + v * v);
        T::one() / (squares / T::from(self.d).unwrap() + T::from(EPS).unwrap()).sqrt()
    }

    /// `(residual, out)`, both `[b l d]`.
    pub fn forward(&self) -> (Vec<T>, Vec<T>) {
        let mut sum = vec![T::zero(); self.h.len()];
        for at in 0..sum.len() {
            let (row, c) = (at / self.d, at % self.d);
            let mut v = self.h[at];
            if self.prompted(row) {
                for [generated, bias, scale] in &self.prompts {
                    v = v + scale[c] * silu(generated[at] + bias[c]);
                }
            }
            v = v * self.keep(row);
            sum[at] = if self.residual.is_empty() { v } else { self.residual[at] + v };
        }
        let mut out = sum.clone();
        for row in out.chunks_exact_mut(self.d) {
            let scale = self.inverse_rms(row);
            row.iter_mut().zip(self.weight).for_each(|(v, &w)| *v = *v * scale * w);
        }
        (sum, out)
    }

    /// The gradients, given those of both outputs `[b l d]`.
    pub fn backward(&self, dresidual: &[T], dout: &[T]) -> Grads<T> {
        let (sum, _) = self.forward();
        let mut dsum = dresidual.to_vec();
        let mut weight = vec![T::zero(); self.d];
        for row in 0..sum.len() / self.d {
            let at = row * self.d;
            let r = &sum[at..at + self.d];
            let scale = self.inverse_rms(r);
            let mut mean = T::zero();
            for c in 0..self.d {
                mean = mean + r[c] * self.weight[c] * dout[at + c] / T::from(self.d).unwrap();
                weight[c] = weight[c] + dout[at + c] * r[c] * scale;
            }
            for c in 0..self.d {
                let through = scale * self.weight[c] * dout[at + c] - scale.powi(3) * r[c] * mean;
                dsum[at + c] = dsum[at + c] + through;
            }
        }
        let h: Vec<T> = (0..dsum.len()).map(|at| dsum[at] * self.keep(at / self.d)).collect();
        let prompt = |[generated, bias, scale]: &[&[T]; 3]| {
            let mut grads = [vec![T::zero(); h.len()], vec![T::zero(); self.d], vec![T::zero(); self.d]];
            for at in (0..h.len()).filter(|at| self.prompted(at / self.d)) {
                let (c, q) = (at % self.d, generated[at] + bias[at % self.d]);
                grads[0][at] = h[at] * scale[c] * silu_grad(q);
                grads[1][c] = grads[1][c] + grads[0][at];
                grads[2][c] = grads[2][c] + h[at] * silu(q);
            }
            grads
        };
        let prompts = self.prompts.iter().map(prompt).collect();
        Grads { h, residual: dsum, prompts, weight }
    }
}
