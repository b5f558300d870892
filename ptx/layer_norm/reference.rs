//! The op in plain loops. Empty slices stand for absent inputs.

use num_traits::Float;

/// The inputs of one call.
pub struct LayerNorm<'a, T> {
    /// Rows that share a factor of `keep`.
    pub l: usize,
    /// `[rows d]`
    pub h: &'a [T],
    /// `[rows d]`, or nothing.
    pub residual: &'a [T],
    /// `[d]`
    pub weight: &'a [T],
    /// `[d]`
    pub bias: &'a [T],
    /// Added to the variance.
    pub eps: T,
    /// Drop path's factors `[rows / l]`, or nothing.
    pub keep: &'a [T],
}

/// Gradients, shaped as the inputs.
pub struct Grads<T> {
    /// `[rows d]`
    pub h: Vec<T>,
    /// `[rows d]`
    pub residual: Vec<T>,
    /// `[d]`
    pub weight: Vec<T>,
    /// `[d]`
    pub bias: Vec<T>,
}

fn mean<T: Float>(x: impl Iterator<Item = T>, d: usize) -> T {
    x.fold(T::zero(), |sum, x| sum + x) / T::from(d).unwrap()
}

impl<T: Float> LayerNorm<'_, T> {
    fn keep(&self, row: usize) -> T {
        if self.keep.is_empty() { T::one() } else { self.keep[row / self.l] }
    }

    /// The normalised row, without weight and bias, and the inverse of its deviation.
    fn normalised(&self, row: &[T]) -> (Vec<T>, T) {
        let d = row.len();
        let middle = mean(row.iter().copied(), d);
        let variance = mean(row.iter().map(|&x| (x - middle) * (x - middle)), d);
        let inverse = T::one() / (variance + self.eps).sqrt();
        (row.iter().map(|&x| (x - middle) * inverse).collect(), inverse)
    }

    /// `(sum, out)`, both `[rows d]`.
    pub fn forward(&self) -> (Vec<T>, Vec<T>) {
        let d = self.weight.len();
        let (mut sum, mut out) = (vec![], vec![]);
        for (at, &h) in self.h.iter().enumerate() {
            let before = if self.residual.is_empty() { T::zero() } else { self.residual[at] };
            sum.push(before + self.keep(at / d) * h);
        }
        for row in sum.chunks(d) {
            let (n, _) = self.normalised(row);
            out.extend((0..d).map(|c| self.weight[c] * n[c] + self.bias[c]));
        }
        (sum, out)
    }

    /// The gradients, given those of both outputs `[rows d]`.
    pub fn backward(&self, dsum: &[T], dout: &[T]) -> Grads<T> {
        let d = self.weight.len();
        let (sum, _) = self.forward();
        let (mut residual, mut weight, mut bias) = (vec![], vec![T::zero(); d], vec![T::zero(); d]);
        for (row, (r, dout)) in sum.chunks(d).zip(dout.chunks(d)).enumerate() {
            let (n, inverse) = self.normalised(r);
            let g: Vec<T> = (0..d).map(|c| self.weight[c] * dout[c]).collect();
            let (plain, along) = (mean(g.iter().copied(), d), mean((0..d).map(|c| g[c] * n[c]), d));
            for c in 0..d {
                residual.push(dsum[row * d + c] + inverse * (g[c] - plain - n[c] * along));
                weight[c] = weight[c] + dout[c] * n[c];
                bias[c] = bias[c] + dout[c];
            }
        }
        let h = residual.iter().enumerate().map(|(at, &dr)| self.keep(at / d) * dr).collect();
        Grads { h, residual, weight, bias }
    }
}
