//! Gated rows in plain loops.

use num_traits::Float;

/// Sizes and gate of one call; the module documents the axes.
pub struct GateRows<'a, T> {
    /// Rows of a sequence.
    pub l: usize,
    /// Channels of a row.
    pub d: usize,
    /// Rows that are gated.
    pub rows: &'a [usize],
    /// What x weighs.
    pub gate: T,
}

/// The sigmoid of a logit.
pub fn sigmoid<T: Float>(logit: T) -> T {
    T::one() / (T::one() + (-logit).exp())
}

impl<T: Float> GateRows<'_, T> {
    /// Whether element `i` belongs to a row that is gated.
    fn gated(&self, i: usize) -> bool {
        self.rows.contains(&(i / self.d % self.l))
    }

    /// y from x and z.
    pub fn forward(&self, x: &[T], z: &[T]) -> Vec<T> {
        let gated = |i: usize| self.gate * x[i] + (T::one() - self.gate) * z[i];
        (0..x.len()).map(|i| if self.gated(i) { gated(i) } else { x[i] }).collect()
    }

    /// dx, dz and the gradient of the logit whose sigmoid the gate is.
    pub fn backward(&self, x: &[T], z: &[T], dy: &[T]) -> (Vec<T>, Vec<T>, T) {
        let rest = T::one() - self.gate;
        let dx = (0..x.len()).map(|i| if self.gated(i) { self.gate * dy[i] } else { dy[i] }).collect();
        let dz = (0..x.len()).map(|i| if self.gated(i) { rest * dy[i] } else { T::zero() }).collect();
        let mut sum = T::zero();
        for i in (0..x.len()).filter(|&i| self.gated(i)) {
            sum = sum + dy[i] * (x[i] - z[i]);
        }
        (dx, dz, self.gate * rest * sum)
    }
}
