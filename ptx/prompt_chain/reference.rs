//! The chain of prompts in plain loops.

use num_traits::Float;

/// A chain over `layers` prompts `[n d]`, the first among them; the module documents the axes.
pub struct Chain<'a, T> {
    /// Layers, the first among them.
    pub layers: usize,
    /// Prompts of a layer.
    pub n: usize,
    /// Channels of a prompt.
    pub d: usize,
    /// Whether all layers before count, or only the last of them.
    pub all: bool,
    /// `[layers-1 n n]`; identities where there are none.
    pub matrices: &'a [T],
}

impl<T: Float> Chain<'_, T> {
    /// What prompt j of layer `from` weighs in prompt i of layer `to`.
    fn weight(&self, to: usize, i: usize, from: usize, j: usize) -> T {
        let same = if i == j { T::one() } else { T::zero() };
        match to.checked_sub(from) {
            Some(0) => same,
            Some(1) if !self.all => self.matrices[((to - 1) * self.n + i) * self.n + j],
            Some(_) if self.all => same,
            _ => T::zero(),
        }
    }

    /// y `[layers-1 n d]` from the prompts `[layers n d]`.
    pub fn forward(&self, p: &[T]) -> Vec<T> {
        let &Chain { layers, n, d, .. } = self;
        let mut y = vec![T::zero(); (layers - 1) * n * d];
        for (at, y) in y.iter_mut().enumerate() {
            let (to, i, c) = (at / (n * d) + 1, at / d % n, at % d);
            for (from, j) in (0..layers).flat_map(|from| (0..n).map(move |j| (from, j))) {
                *y = *y + self.weight(to, i, from, j) * p[(from * n + j) * d + c];
            }
        }
        y
    }

    /// The gradients of prompts and matrices from dy.
    pub fn backward(&self, p: &[T], dy: &[T]) -> [Vec<T>; 2] {
        let &Chain { layers, n, d, .. } = self;
        let (mut dp, mut dm) = (vec![T::zero(); p.len()], vec![T::zero(); (layers - 1) * n * n]);
        for (at, &dy) in dy.iter().enumerate() {
            let (to, i, c) = (at / (n * d) + 1, at / d % n, at % d);
            for (from, j) in (0..layers).flat_map(|from| (0..n).map(move |j| (from, j))) {
                let of = (from * n + j) * d + c;
                dp[of] = dp[of] + self.weight(to, i, from, j) * dy;
                if from + 1 == to {
                    let at = ((to - 1) * n + i) * n + j;
                    dm[at] = dm[at] + dy * p[of];
                }
            }
        }
        [dp, dm]
    }
}
