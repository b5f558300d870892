//! Added rows in plain loops.

use num_traits::Float;

/// Sizes and places of one call; the module documents the axes.
pub struct AddRows<'a, T> {
    /// Rows of a sequence.
    pub l: usize,
    /// Channels of a row.
    pub d: usize,
    /// For each image the rows that are added to.
    pub at: &'a [Vec<usize>],
    /// The factor of the rows.
    pub weight: T,
}

impl<T: Float> AddRows<'_, T> {
    /// Calls `each` with every element that is added to, and the element of the rows.
    fn walk(&self, mut each: impl FnMut(usize, usize)) {
        for (sample, at) in self.at.iter().enumerate() {
            for (j, &row) in at.iter().enumerate() {
                for c in 0..self.d {
                    each((sample * self.l + row) * self.d + c, j * self.d + c);
                }
            }
        }
    }

    /// y from x and `rows [n d]`.
    pub fn forward(&self, x: &[T], rows: &[T]) -> Vec<T> {
        let mut y = x.to_vec();
        self.walk(|to, from| y[to] = y[to] + self.weight * rows[from]);
        y
    }

    /// The gradient of `rows [n d]` from dy; that of x is dy.
    pub fn backward(&self, dy: &[T], n: usize) -> Vec<T> {
        let mut grad = vec![T::zero(); n * self.d];
        self.walk(|from, to| grad[to] = grad[to] + self.weight * dy[from]);
        grad
    }
}
