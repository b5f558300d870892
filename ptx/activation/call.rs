//! What the files of the op share: the functions that there are.

use engine::simd::Simd;

pub(super) const OP: &str = "activation";

/// An elementwise function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `max(x, 0)`, whose slope at 0 is 0.
    Relu,
    /// `x / (1 + e^(-1.702 x))`, an approximation of GELU.
    QuickGelu,
    /// `tanh(x)`
    Tanh,
    /// `e^x`
    Exp,
    /// The exact GELU, `x F(x)` with the standard normal distribution function `F(x) = (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
}

/// The factor in the exponent of [`Activation::QuickGelu`].
pub(super) const QUICK: f32 = 1.702;

/// Up to here tanh is a polynomial, because `2 sigmoid(2x) - 1` cancels near 0.
const TANH_SMALL: f32 = 0.25;

impl Activation {
    /// All of them, by their numbers in cases and graphs.
    pub(super) const ALL: [Activation; 5] =
        [Activation::Relu, Activation::QuickGelu, Activation::Tanh, Activation::Exp, Activation::Gelu];

    /// Its number.
    pub(super) fn number(self) -> usize {
        Self::ALL.iter().position(|&known| known == self).expect("all are in the list")
    }

    /// The value and the slope at x.
    #[inline(always)]
    pub(super) fn value_and_slope<S: Simd>(self, s: S, x: S::V) -> (S::V, S::V) {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        match self {
            Activation::Relu => (s.where_gt(x, zero, x, zero), s.where_gt(x, zero, one, zero)),
            Activation::Gelu => {
                let (distribution, density) = s.normal(x);
                (s.mul(x, distribution), s.fma(x, density, distribution))
            }
            Activation::QuickGelu => {
                let scaled = s.mul(s.splat(QUICK), x);
                let share = s.sigmoid(scaled);
                (s.mul(x, share), s.mul(share, s.fma(scaled, s.sub(one, share), one)))
            }
            Activation::Tanh => {
                let far = s.fma(s.splat(2.0), s.sigmoid(s.add(x, x)), s.splat(-1.0));
                let square = s.mul(x, x);
                let mut p = s.splat(-17.0 / 315.0);
                for c in [2.0 / 15.0, -1.0 / 3.0, 1.0] {
                    p = s.fma(p, square, s.splat(c));
                }
                let y = s.where_gt(square, s.splat(TANH_SMALL * TANH_SMALL), far, s.mul(p, x));
                (y, s.sub(one, s.mul(y, y)))
            }
            Activation::Exp => {
                let y = s.exp(x);
                (y, y)
            }
        }
    }
}
