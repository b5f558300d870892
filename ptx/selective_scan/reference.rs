//! One direction of the scan in plain loops, up to y. Slices are row-major.

use num_traits::Float;

/// The sizes and values of one direction.
pub struct Scan<'a, T> {
    /// Tokens of an image.
    pub l: usize,
    /// Channels.
    pub e: usize,
    /// States of a channel.
    pub n: usize,
    /// Whether the walk is from the last token to the first.
    pub reverse: bool,
    /// `[b l e]`, with its prompt.
    pub u: &'a [T],
    /// `[b l e]`
    pub delta: &'a [T],
    /// B of every token, `[b l n]`.
    pub bt: &'a [T],
    /// C of every token, `[b l n]`.
    pub ct: &'a [T],
    /// `[e n]`
    pub a_log: &'a [T],
    /// `[e]`
    pub d: &'a [T],
    /// `[e]`
    pub delta_bias: &'a [T],
}

/// The gradients of one direction, shaped as in [`Scan`].
pub struct Grads<T> {
    /// `[b l e]`
    pub u: Vec<T>,
    /// `[b l e]`
    pub delta: Vec<T>,
    /// `[b l n]`
    pub bt: Vec<T>,
    /// `[b l n]`
    pub ct: Vec<T>,
    /// `[e n]`
    pub a_log: Vec<T>,
    /// `[e]`
    pub d: Vec<T>,
    /// `[e]`
    pub delta_bias: Vec<T>,
}

/// `log(1 + e^x)`; above 20 it is x itself, as in the published kernels.
pub fn softplus<T: Float>(x: T) -> T {
    if x > T::from(20.0).unwrap() { x } else { x.exp().ln_1p() }
}

/// The derivative of [`softplus`].
pub fn softplus_grad<T: Float>(x: T) -> T {
    if x > T::from(20.0).unwrap() { T::one() } else { T::one() / (T::one() + (-x).exp()) }
}

impl<T: Float> Scan<'_, T> {
    /// The tokens in the order of the walk.
    fn order(&self) -> Vec<usize> {
        if self.reverse { (0..self.l).rev().collect() } else { (0..self.l).collect() }
    }

    /// `y [b l e]`, before the gate.
    pub fn forward(&self) -> Vec<T> {
        let &Scan { l, e, n, .. } = self;
        let mut y = vec![T::zero(); self.u.len()];
        for b in 0..self.u.len() / (l * e) {
            for c in 0..e {
                let mut state = vec![T::zero(); n];
                for t in self.order() {
                    let (at, bc) = ((b * l + t) * e + c, (b * l + t) * n);
                    let delta = softplus(self.delta[at] + self.delta_bias[c]);
                    y[at] = self.d[c] * self.u[at];
                    for i in 0..n {
                        let a = -self.a_log[c * n + i].exp();
                        state[i] = (delta * a).exp() * state[i] + delta * self.u[at] * self.bt[bc + i];
                        y[at] = y[at] + state[i] * self.ct[bc + i];
                    }
                }
            }
        }
        y
    }

    /// The gradients, given `dy [b l e]`.
    pub fn backward(&self, dy: &[T]) -> Grads<T> {
        let &Scan { l, e, n, .. } = self;
        let zeros = |like: &[T]| vec![T::zero(); like.len()];
        let mut g = Grads {
            u: zeros(self.u),
            delta: zeros(self.u),
            bt: zeros(self.bt),
            ct: zeros(self.ct),
            a_log: zeros(self.a_log),
            d: zeros(self.d),
            delta_bias: zeros(self.d),
        };
        for b in 0..self.u.len() / (l * e) {
            for c in 0..e {
                for i in 0..n {
                    self.backward_state(b, c, i, dy, &mut g);
                }
                for t in 0..l {
                    let at = (b * l + t) * e + c;
                    g.u[at] = g.u[at] + self.d[c] * dy[at];
                    g.d[c] = g.d[c] + dy[at] * self.u[at];
                    g.delta[at] = g.delta[at] * softplus_grad(self.delta[at] + self.delta_bias[c]);
                    g.delta_bias[c] = g.delta_bias[c] + g.delta[at];
                }
            }
        }
        g
    }

    /// Adds what state `i` of channel `c` contributes. Here `g.delta` is the gradient of what softplus gives.
    fn backward_state(&self, b: usize, c: usize, i: usize, dy: &[T], g: &mut Grads<T>) {
        let &Scan { l, e, n, .. } = self;
        let order = self.order();
        let a = -self.a_log[c * n + i].exp();
        let (mut decay, mut states, mut state) = (vec![], vec![], T::zero());
        for &t in &order {
            let (at, bc) = ((b * l + t) * e + c, (b * l + t) * n + i);
            let delta = softplus(self.delta[at] + self.delta_bias[c]);
            decay.push((delta * a).exp());
            states.push(state);
            state = *decay.last().unwrap() * state + delta * self.u[at] * self.bt[bc];
        }
        let mut carry = T::zero();
        for (step, &t) in order.iter().enumerate().rev() {
            let (at, bc) = ((b * l + t) * e + c, (b * l + t) * n + i);
            let delta = softplus(self.delta[at] + self.delta_bias[c]);
            let after = decay[step] * states[step] + delta * self.u[at] * self.bt[bc];
            let grad = dy[at] * self.ct[bc] + carry;
            g.ct[bc] = g.ct[bc] + dy[at] * after;
            g.bt[bc] = g.bt[bc] + grad * delta * self.u[at];
            g.u[at] = g.u[at] + grad * delta * self.bt[bc];
            let through_decay = grad * decay[step] * states[step];
            g.delta[at] = g.delta[at] + through_decay * a + grad * self.bt[bc] * self.u[at];
            g.a_log[c * n + i] = g.a_log[c * n + i] + through_decay * delta * a;
            carry = grad * decay[step];
        }
    }
}
