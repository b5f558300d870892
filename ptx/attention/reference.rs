//! Attention in plain loops.

use num_traits::Float;

/// The inputs of one call.
pub struct Attention<'a, T> {
    /// Rows of an image.
    pub l: usize,
    /// Number of heads.
    pub heads: usize,
    /// Channels of a head.
    pub c: usize,
    /// `[b l 3 heads c]`
    pub qkv: &'a [T],
    /// `[heads n c]`, or nothing.
    pub extra: &'a [T],
    /// What the scores are divided by.
    pub temperature: T,
}

/// Gradients, shaped as the inputs.
pub struct Grads<T> {
    /// `[b l 3 heads c]`
    pub qkv: Vec<T>,
    /// `[heads n c]`
    pub extra: Vec<T>,
    /// That of the temperature.
    pub temperature: T,
}

/// The thirds of qkv.
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;

impl<T: Float> Attention<'_, T> {
    fn n(&self) -> usize {
        self.extra.len() / (self.heads * self.c)
    }

    fn images(&self) -> usize {
        self.qkv.len() / (self.l * 3 * self.heads * self.c)
    }

    /// Where row `row` of a third of qkv begins.
    fn at(&self, third: usize, image: usize, head: usize, row: usize) -> usize {
        (((image * self.l + row) * 3 + third) * self.heads + head) * self.c
    }

    /// Key or value `j` of a head.
    fn row(&self, third: usize, image: usize, head: usize, j: usize) -> &[T] {
        match j.checked_sub(self.n()) {
            None => &self.extra[(head * self.n() + j) * self.c..][..self.c],
            Some(row) => &self.qkv[self.at(third, image, head, row)..][..self.c],
        }
    }

    fn factor(&self) -> T {
        T::one() / (T::from(self.c).unwrap().sqrt() * self.temperature)
    }

    /// The scores of a query and their softmax, each `[n + l]`.
    fn probabilities(&self, image: usize, head: usize, i: usize) -> (Vec<T>, Vec<T>) {
        let q = &self.qkv[self.at(Q, image, head, i)..][..self.c];
        let scores: Vec<T> =
            (0..self.n() + self.l).map(|j| dot(q, self.row(K, image, head, j)) * self.factor()).collect();
        let largest = scores.iter().fold(T::neg_infinity(), |most, &s| most.max(s));
        let powers: Vec<T> = scores.iter().map(|&s| (s - largest).exp()).collect();
        let total = powers.iter().fold(T::zero(), |sum, &p| sum + p);
        (scores, powers.into_iter().map(|p| p / total).collect())
    }

    /// `out [b l heads c]`.
    pub fn forward(&self) -> Vec<T> {
        let mut out = vec![];
        for image in 0..self.images() {
            for i in 0..self.l {
                for head in 0..self.heads {
                    let (_, p) = self.probabilities(image, head, i);
                    out.extend((0..self.c).map(|k| {
                        let terms = p.iter().enumerate().map(|(j, &p)| p * self.row(V, image, head, j)[k]);
                        terms.fold(T::zero(), |sum, term| sum + term)
                    }));
                }
            }
        }
        out
    }

    /// The probabilities `[b heads n+l]` of query row `row`.
    pub fn class_probabilities(&self, row: usize) -> Vec<T> {
        let pairs = (0..self.images()).flat_map(|image| (0..self.heads).map(move |head| (image, head)));
        pairs.flat_map(|(image, head)| self.probabilities(image, head, row).1).collect()
    }

    /// The gradients, given that of out.
    pub fn backward(&self, dout: &[T]) -> Grads<T> {
        let (n, c, factor) = (self.n(), self.c, self.factor());
        let mut grads = Grads {
            qkv: vec![T::zero(); self.qkv.len()],
            extra: vec![T::zero(); self.extra.len()],
            temperature: T::zero(),
        };
        for image in 0..self.images() {
            for (head, i) in (0..self.heads).flat_map(|head| (0..self.l).map(move |i| (head, i))) {
                let (scores, p) = self.probabilities(image, head, i);
                let dout = &dout[((image * self.l + i) * self.heads + head) * c..][..c];
                let dp: Vec<T> = (0..n + self.l).map(|j| dot(dout, self.row(V, image, head, j))).collect();
                let mean = dot(&p, &dp);
                for j in 0..n + self.l {
                    let ds = p[j] * (dp[j] - mean);
                    grads.temperature = grads.temperature - ds * scores[j] / self.temperature;
                    for k in 0..c {
                        let q = self.at(Q, image, head, i) + k;
                        let key = self.row(K, image, head, j)[k];
                        grads.qkv[q] = grads.qkv[q] + ds * factor * key;
                        let (dkey, dvalue) = (ds * factor * self.qkv[q], p[j] * dout[k]);
                        if j < n {
                            let at = (head * n + j) * c + k;
                            grads.extra[at] = grads.extra[at] + dkey + dvalue;
                        } else {
                            let at = self.at(K, image, head, j - n) + k;
                            grads.qkv[at] = grads.qkv[at] + dkey;
                            let at = self.at(V, image, head, j - n) + k;
                            grads.qkv[at] = grads.qkv[at] + dvalue;
                        }
                    }
                }
            }
        }
        grads
    }
}

fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::zero(), |sum, (&a, &b)| sum + a * b)
}
