//! One direction of the convolution in plain loops: `x [b l e]`, `weight [e K]`, `bias [e]`.

use num_traits::Float;

use crate::scalar::{silu, silu_grad};

/// The sizes of one direction.
#[derive(Clone, Copy)]
pub struct Conv {
    /// Tokens of an image.
    pub l: usize,
    /// Channels.
    pub e: usize,
    /// Taps K of the filter.
    pub k: usize,
    /// Whether the taps reach to later tokens instead of earlier ones.
    pub reverse: bool,
}

impl Conv {
    /// The token that tap `k` reads for output `t`.
    fn source(&self, t: usize, k: usize) -> Option<usize> {
        let back = self.k - 1 - k;
        if self.reverse { Some(t + back).filter(|&t| t < self.l) } else { t.checked_sub(back) }
    }

    /// The sum under the SiLU, `[b l e]`.
    fn pre<T: Float>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let mut pre = vec![T::zero(); x.len()];
        for (at, pre) in pre.iter_mut().enumerate() {
            let (c, t, b) = (at % self.e, at / self.e % self.l, at / self.e / self.l);
            *pre = bias[c];
            for k in 0..self.k {
                if let Some(t) = self.source(t, k) {
                    *pre = *pre + weight[c * self.k + k] * x[(b * self.l + t) * self.e + c];
                }
            }
        }
        pre
    }

    /// `u [b l e]`
    pub fn forward<T: Float>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        self.pre(x, weight, bias).into_iter().map(silu).collect()
    }

    /// `[dx, dweight, dbias]`, shaped as the inputs.
    pub fn backward<T: Float>(&self, x: &[T], weight: &[T], bias: &[T], du: &[T]) -> [Vec<T>; 3] {
        let pre = self.pre(x, weight, bias);
        let mut dx = vec![T::zero(); x.len()];
        let mut dweight = vec![T::zero(); weight.len()];
        let mut dbias = vec![T::zero(); bias.len()];
        for at in 0..x.len() {
            let (c, t, b) = (at % self.e, at / self.e % self.l, at / self.e / self.l);
            let g = du[at] * silu_grad(pre[at]);
            dbias[c] = dbias[c] + g;
            for k in 0..self.k {
                if let Some(t) = self.source(t, k) {
                    let from = (b * self.l + t) * self.e + c;
                    dx[from] = dx[from] + g * weight[c * self.k + k];
                    dweight[c * self.k + k] = dweight[c * self.k + k] + g * x[from];
                }
            }
        }
        [dx, dweight, dbias]
    }
}
