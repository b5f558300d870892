//! Prompt rows in plain loops.

use engine::rng::philox;
use num_traits::Float;

/// Sizes and rows of one call; the module documents the axes.
pub struct PromptRows<'a, T> {
    /// Sequences of the batch.
    pub b: usize,
    /// Rows of a sequence in the result.
    pub l: usize,
    /// Channels of a row.
    pub d: usize,
    /// Rows of the result that hold prompts, in rising order.
    pub rows: &'a [usize],
    /// Whether the prompts come between the rows of x, or in their place.
    pub insert: bool,
    /// `[b n d]`; zeros where the prompts are absent.
    pub keep: Vec<T>,
}

/// `keep [b n d]` from keys `[b 2]`, by the definition in [`super::Dropout`].
pub fn keep<T: Float>(keys: &[f32], rate: f32, stream: u32, n: usize, d: usize) -> Vec<T> {
    let rate = f64::from(rate);
    let mut keep = vec![];
    for key in keys.chunks_exact(2) {
        for j in 0..n {
            for c in 0..d {
                let words = philox([key[0] as u32, key[1] as u32], [(c / 4) as u32, j as u32, stream, 0]);
                let dropped = f64::from(words[c % 4]) < (rate * 2f64.powi(32)).floor();
                keep.push(T::from(if dropped { 0.0 } else { 1.0 / (1.0 - rate) }).unwrap());
            }
        }
    }
    keep
}

impl<T: Float> PromptRows<'_, T> {
    /// The prompt at a row of the result.
    fn prompt(&self, row: usize) -> Option<usize> {
        self.rows.iter().position(|&at| at == row)
    }

    /// Calls `each` with every element of the result, and the element of x or of `keep` that it comes from.
    fn walk(&self, mut each: impl FnMut(usize, Result<usize, usize>)) {
        let (n, d) = (self.rows.len(), self.d);
        let from_l = if self.insert { self.l - n } else { self.l };
        for sample in 0..self.b {
            for row in 0..self.l {
                let before = self.rows.iter().filter(|&&at| at < row).count();
                let from = if self.insert { row - before } else { row };
                for c in 0..d {
                    let source = match self.prompt(row) {
                        Some(j) => Err((sample * n + j) * d + c),
                        None => Ok((sample * from_l + from) * d + c),
                    };
                    each((sample * self.l + row) * d + c, source);
                }
            }
        }
    }

    /// y from x and prompts `[n d]`.
    pub fn forward(&self, x: &[T], prompt: &[T]) -> Vec<T> {
        let mut y = vec![T::zero(); self.b * self.l * self.d];
        self.walk(|at, source| {
            y[at] = match source {
                Ok(from) => x[from],
                Err(i) => self.keep[i] * prompt[i % prompt.len()],
            };
        });
        y
    }

    /// `[dx, dprompt]` from dy.
    pub fn backward(&self, dy: &[T]) -> [Vec<T>; 2] {
        let (n, d) = (self.rows.len(), self.d);
        let from_l = if self.insert { self.l - n } else { self.l };
        let (mut dx, mut dprompt) = (vec![T::zero(); self.b * from_l * d], vec![T::zero(); n * d]);
        self.walk(|at, source| match source {
            Ok(from) => dx[from] = dy[at],
            Err(i) => dprompt[i % (n * d)] = dprompt[i % (n * d)] + self.keep[i] * dy[at],
        });
        [dx, dprompt]
    }
}
