//! f64 in the rounding modes that the CPU does not have, computed with whole numbers of 128 bits from the exact result.

use crate::isa::{Exact64, FloatClass, Round, Slot};
use crate::lanes::lanes;
use crate::registers::Registers;

/// The exponent of the last bit of the smallest numbers.
const LEAST: i32 = -1074;

/// Executes `f` for the lanes of `m`.
#[cold]
#[inline(never)]
pub(crate) fn execute(r: &mut Registers, f: Exact64, round: Round, [d, a, b, c]: [Slot; 4], m: u32) {
    let x = f64::from_bits;
    let (a, b, c) = (r.double(a), r.double(b), r.double(c));
    let v = lanes(|l| compute(f, round, x(a[l]), x(b[l]), x(c[l])).to_bits());
    r.set_double(d, &v, m);
}

/// A number that is not zero: `significand` times two to the power `exponent`, and a little more where `more`.
#[derive(Debug, Clone, Copy)]
struct Number {
    negative: bool,
    significand: u128,
    exponent: i32,
    /// The magnitude is larger than the significand says, by less than one unit of it.
    more: bool,
}

impl Number {
    /// The number of a finite f64 other than zero.
    fn new(x: f64) -> Self {
        let bits = x.to_bits();
        let (field, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
        let significand = u128::from(if field == 0 { fraction } else { fraction | 1 << 52 });
        let exponent = LEAST + field.max(1) as i32 - 1;
        Self { negative: x.is_sign_negative(), significand, exponent, more: false }
    }

    /// The same number with its leading bit at bit `top` or above it.
    fn raised(self, top: u32) -> Self {
        let shift = self.significand.leading_zeros().saturating_sub(127 - top);
        Self { significand: self.significand << shift, exponent: self.exponent - shift as i32, ..self }
    }

    /// The product, of at most 106 bits.
    fn times(self, other: Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            significand: self.significand * other.significand,
            exponent: self.exponent + other.exponent,
            more: false,
        }
    }

    /// The sum of exact numbers; none if it is zero.
    fn plus(self, other: Self) -> Option<Self> {
        // One bit is left for the carry. Numbers of up to 106 bits have 20 zeros at their end then, so a shift that loses
        // bits is so long that the sum keeps more bits than an f64 has.
        let (mut x, mut y) = (self.raised(126), other.raised(126));
        if (y.exponent, y.significand) > (x.exponent, x.significand) {
            std::mem::swap(&mut x, &mut y);
        }
        let shift = x.exponent.abs_diff(y.exponent);
        let moved = y.significand.checked_shr(shift).unwrap_or(0);
        let lost = shift >= 128 || moved << shift != y.significand;
        let significand = match (x.negative == y.negative, lost) {
            (true, _) => x.significand + moved,
            (false, false) => x.significand - moved,
            // What is lost makes the difference smaller than one that keeps it, and larger than the next.
            (false, true) => x.significand - moved - 1,
        };
        (significand != 0).then_some(Self { significand, more: lost, ..x })
    }

    /// The quotient, with at least 73 bits.
    fn over(self, other: Self) -> Self {
        let x = self.raised(126);
        Self {
            negative: self.negative != other.negative,
            significand: x.significand / other.significand,
            exponent: x.exponent - other.exponent,
            more: !x.significand.is_multiple_of(other.significand),
        }
    }

    /// The square root, with at least 60 bits.
    fn root(self) -> Self {
        let mut x = self.raised(124);
        if x.exponent % 2 != 0 {
            x = Self { significand: x.significand << 1, exponent: x.exponent - 1, ..x };
        }
        let root = x.significand.isqrt();
        Self { significand: root, exponent: x.exponent / 2, more: root * root != x.significand, ..x }
    }

    /// The neighbour of the number on the side of `round`.
    fn rounded(self, round: Round) -> f64 {
        let top = self.exponent + 127 - self.significand.leading_zeros() as i32;
        let away = match round {
            Round::Up => !self.negative,
            Round::Down => self.negative,
            Round::Zero | Round::Nearest => false,
        };
        // The exponent of the last bit of the result.
        let last = (top - 52).max(LEAST);
        let magnitude = if top > 1023 {
            overflow(away)
        } else {
            let (kept, inexact) = self.cut(last);
            let bits = (((last - LEAST) as u64) << 52) + kept + u64::from(inexact && away);
            // A carry out of the largest number gives infinity, as it should.
            f64::from_bits(bits)
        };
        if self.negative { -magnitude } else { magnitude }
    }

    /// The multiple of two to the power `last` at or below the magnitude, and whether something is left over.
    fn cut(self, last: i32) -> (u64, bool) {
        if last <= self.exponent {
            return ((self.significand << (self.exponent - last)) as u64, self.more);
        }
        let shift = last.abs_diff(self.exponent);
        let kept = self.significand.checked_shr(shift).unwrap_or(0);
        let lost = shift >= 128 || kept << shift != self.significand;
        (kept as u64, lost || self.more)
    }
}

/// The magnitude of what is too large.
fn overflow(away: bool) -> f64 {
    if away { f64::INFINITY } else { f64::MAX }
}

/// Computes one result. Where the operands are not all finite, or a result is zero exactly, no rounding takes place.
fn compute(f: Exact64, round: Round, a: f64, b: f64, c: f64) -> f64 {
    match f {
        Exact64::Add => sum(a, b, round),
        Exact64::Sub => sum(a, -b, round),
        Exact64::Mul if plain(a) && plain(b) => Number::new(a).times(Number::new(b)).rounded(round),
        Exact64::Mul => a * b,
        Exact64::Fma if plain(a) && plain(b) && c.is_finite() => {
            let product = Number::new(a).times(Number::new(b));
            if c == 0.0 {
                return product.rounded(round);
            }
            product.plus(Number::new(c)).map_or(zero(round), |v| v.rounded(round))
        }
        Exact64::Fma if !c.is_finite() => a.mul_add(b, c),
        // The product is a zero, infinite or NaN, and therefore exact.
        Exact64::Fma => sum(a * b, c, round),
        Exact64::Div if plain(a) && plain(b) => Number::new(a).over(Number::new(b)).rounded(round),
        Exact64::Div => a / b,
        Exact64::Sqrt if plain(a) && a > 0.0 => Number::new(a).root().rounded(round),
        Exact64::Sqrt => a.sqrt(),
    }
}

/// Computes `a + b`.
fn sum(a: f64, b: f64, round: Round) -> f64 {
    if plain(a) && plain(b) {
        return Number::new(a).plus(Number::new(b)).map_or(zero(round), |v| v.rounded(round));
    }
    let opposite = a == 0.0 && b == 0.0 && a.is_sign_negative() != b.is_sign_negative();
    if opposite { zero(round) } else { a + b }
}

/// The zero that a sum of opposite numbers gives.
fn zero(round: Round) -> f64 {
    if round == Round::Down { -0.0 } else { 0.0 }
}

/// Whether a number is finite and not zero.
fn plain(x: f64) -> bool {
    x.is_finite() && x != 0.0
}

/// Whether a float is of a class (`testp`). Zeros count as normal.
pub(crate) fn is(f: FloatClass, x: f64, subnormal: bool) -> bool {
    match f {
        FloatClass::Finite => x.is_finite(),
        FloatClass::Infinite => x.is_infinite(),
        FloatClass::Number => !x.is_nan(),
        FloatClass::NotANumber => x.is_nan(),
        FloatClass::Normal => x.is_finite() && !subnormal,
        FloatClass::Subnormal => subnormal,
    }
}
