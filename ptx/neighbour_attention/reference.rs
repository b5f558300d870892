//! Attention to neighbours in plain loops.

use num_traits::Float;

/// The inputs of one call.
pub struct NeighbourAttention<'a, T> {
    /// Patches on a side.
    pub grid: usize,
    /// Number of heads.
    pub heads: usize,
    /// Channels of a head.
    pub c: usize,
    /// `[b l 3 heads c]`
    pub queries: &'a [T],
    /// `[b l 3 heads c]`
    pub keys: &'a [T],
}

impl<T: Float> NeighbourAttention<'_, T> {
    fn l(&self) -> usize {
        1 + self.grid * self.grid
    }

    fn images(&self) -> usize {
        self.queries.len() / (self.l() * 3 * self.heads * self.c)
    }

    /// Where row `row` of a third begins.
    fn at(&self, third: usize, image: usize, head: usize, row: usize) -> usize {
        (((image * self.l() + row) * 3 + third) * self.heads + head) * self.c
    }

    fn near(&self, i: usize, j: usize) -> bool {
        if i == 0 || j == 0 {
            return i == 0;
        }
        let [(x, y), (u, v)] = [i - 1, j - 1].map(|patch| (patch % self.grid, patch / self.grid));
        x.abs_diff(u) <= 1 && y.abs_diff(v) <= 1
    }

    /// The probabilities of a query, 0 for rows that are no neighbours, `[l]`.
    fn probabilities(&self, image: usize, head: usize, i: usize) -> Vec<T> {
        let root = T::from(self.c).expect("a small number").sqrt();
        let q = &self.queries[self.at(0, image, head, i)..][..self.c];
        let score = |j: usize| dot(q, &self.keys[self.at(1, image, head, j)..][..self.c]) / root;
        let scores: Vec<Option<T>> = (0..self.l()).map(|j| self.near(i, j).then(|| score(j))).collect();
        let most = scores.iter().flatten().fold(T::neg_infinity(), |most, &score| most.max(score));
        let powers: Vec<T> =
            scores.iter().map(|score| score.map_or(T::zero(), |score| (score - most).exp())).collect();
        let total = powers.iter().fold(T::zero(), |sum, &power| sum + power);
        powers.iter().map(|&power| power / total).collect()
    }

    /// `[b l heads c]`
    pub fn forward(&self) -> Vec<T> {
        let mut out = vec![];
        for image in 0..self.images() {
            for (i, head) in (0..self.l()).flat_map(|i| (0..self.heads).map(move |head| (i, head))) {
                let p = self.probabilities(image, head, i);
                out.extend((0..self.c).map(|channel| {
                    (0..self.l()).fold(T::zero(), |sum, j| {
                        sum + p[j] * self.keys[self.at(2, image, head, j) + channel]
                    })
                }));
            }
        }
        out
    }

    /// The gradients of `queries` and `keys`, given that of out.
    pub fn backward(&self, dout: &[T]) -> [Vec<T>; 2] {
        let root = T::from(self.c).expect("a small number").sqrt();
        let mut dqueries = vec![T::zero(); self.queries.len()];
        let mut dkeys = vec![T::zero(); self.keys.len()];
        for image in 0..self.images() {
            for (i, head) in (0..self.l()).flat_map(|i| (0..self.heads).map(move |head| (i, head))) {
                let p = self.probabilities(image, head, i);
                let dout = &dout[((image * self.l() + i) * self.heads + head) * self.c..][..self.c];
                let value = |j: usize| &self.keys[self.at(2, image, head, j)..][..self.c];
                let dp: Vec<T> = (0..self.l()).map(|j| dot(dout, value(j))).collect();
                let mean = dot(&p, &dp);
                for j in 0..self.l() {
                    let ds = p[j] * (dp[j] - mean) / root;
                    for channel in 0..self.c {
                        let q = self.at(0, image, head, i) + channel;
                        let [k, v] = [1, 2].map(|third| self.at(third, image, head, j) + channel);
                        dqueries[q] = dqueries[q] + ds * self.keys[k];
                        dkeys[k] = dkeys[k] + ds * self.queries[q];
                        dkeys[v] = dkeys[v] + p[j] * dout[channel];
                    }
                }
            }
        }
        [dqueries, dkeys]
    }
}

fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::zero(), |sum, (&a, &b)| sum + a * b)
}
