//! IEEE arithmetic of one rounding in every rounding mode, on f32 and bf16.
//!
//! The CPU itself computes sums, products, quotients and roots of f32 that round to nearest. `fma` and the other
//! rounding modes go through f64: the exact result is `s + e`, where `s` is the f64 sum and `e` its error. This needs
//! no instruction that some CPUs lack, vectorises, and gives the same bits on every machine.

use crate::isa::Round;

#[cfg(test)]
mod tests;

/// The NaN that PTX arithmetic writes.
pub(crate) const NAN: u32 = 0x7fff_ffff;

/// Turns denormals into zeros of the same sign (`.ftz`).
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// Clamps to [0, 1] and turns NaN into +0 (`.sat`).
#[inline(always)]
pub(crate) fn saturate(x: f32) -> f32 {
    // Comparisons with NaN are false.
    if x > 0.0 { if x < 1.0 { x } else { 1.0 } } else { 0.0 }
}

/// Rounds the exact value `s + e` once to f32; `|e|` is at most half a unit in the last place of `s`.
#[inline(always)]
pub(crate) fn round_sum(s: f64, e: f64, round: Round) -> f32 {
    if let Round::Nearest = round {
        return to_odd(s, e) as f32;
    }
    let near = s as f32;
    if !near.is_finite() && !s.is_finite() {
        return near;
    }
    // This has the sign of exact - near. The difference of an f64 and an f32 near it is exact.
    let d = if near.is_finite() { s - f64::from(near) } else { -f64::from(near) };
    let over = if d != 0.0 { d } else { e };
    directed(near, over, round)
}

/// Moves `near`, a neighbour of the exact value, to the side that `round` asks for; `over` has the sign of
/// exact - near.
#[inline(always)]
fn directed(near: f32, over: f64, round: Round) -> f32 {
    let up = match round {
        Round::Nearest => return near,
        Round::Up => over > 0.0,
        Round::Down => false,
        Round::Zero => over > 0.0 && near < 0.0,
    };
    let down = match round {
        Round::Down => over < 0.0,
        Round::Zero => over < 0.0 && near > 0.0,
        _ => false,
    };
    if up {
        near.next_up()
    } else if down {
        near.next_down()
    } else {
        near
    }
}

/// Rounds `s + e` to odd in f64, so that rounding the result to f32 rounds only once in all.
#[inline(always)]
pub(crate) fn to_odd(s: f64, e: f64) -> f64 {
    let bits = s.to_bits();
    // The result moves by one unit towards e if e is not zero and the last bit is even.
    let inexact = e != 0.0 && s.is_finite();
    let away = (e > 0.0) == (s > 0.0);
    let even = bits & 1 == 0;
    let moved = if away { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if inexact && even { moved } else { bits })
}

/// Returns `a + b` as the f64 sum and its error.
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// Gives a zero sum of opposite values its sign: -0 when rounding down.
#[inline(always)]
fn zero_sign(s: f64, a: f64, b: f64, round: Round) -> f64 {
    if let Round::Down = round
        && s == 0.0
        && a == -b
        && a.is_sign_negative() != b.is_sign_negative()
    {
        -0.0
    } else {
        s
    }
}

/// Computes `a + b` with one rounding.
#[inline(always)]
pub(crate) fn add(a: f32, b: f32, round: Round) -> f32 {
    if let Round::Nearest = round {
        return a + b;
    }
    let (a, b) = (f64::from(a), f64::from(b));
    let (s, e) = two_sum(a, b);
    round_sum(zero_sign(s, a, b, round), e, round)
}

/// Computes `a b` with one rounding.
#[inline(always)]
pub(crate) fn mul(a: f32, b: f32, round: Round) -> f32 {
    if let Round::Nearest = round {
        return a * b;
    }
    round_sum(f64::from(a) * f64::from(b), 0.0, round)
}

/// Computes `a b + c` with one rounding.
#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32, round: Round) -> f32 {
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let (s, e) = two_sum(p, c);
    round_sum(zero_sign(s, p, c, round), e, round)
}

/// Computes `a / b` with one rounding.
#[inline(always)]
pub(crate) fn div(a: f32, b: f32, round: Round) -> f32 {
    let q = a / b;
    if round == Round::Nearest || !a.is_finite() || !b.is_finite() || b == 0.0 || a == 0.0 {
        return q;
    }
    // a - q b has the sign of (exact - q) b, and q b is exact in f64. A quotient that overflowed lies below infinity.
    let over = if q.is_finite() {
        let (r, e) = two_sum(f64::from(a), -(f64::from(q) * f64::from(b)));
        let r = if r != 0.0 { r } else { e };
        if b < 0.0 { -r } else { r }
    } else {
        -f64::from(q)
    };
    directed(q, over, round)
}

/// Computes the square root with one rounding.
#[inline(always)]
pub(crate) fn sqrt(a: f32, round: Round) -> f32 {
    let s = a.sqrt();
    if round == Round::Nearest || !s.is_finite() || s == 0.0 {
        return s;
    }
    directed(s, f64::from(a) - f64::from(s) * f64::from(s), round)
}

/// Rounds an f64 to f32.
#[inline(always)]
pub(crate) fn narrow(a: f64, round: Round) -> f32 {
    if a.is_nan() { f32::NAN } else { round_sum(a, 0.0, round) }
}

/// Rounds to a whole value.
#[inline(always)]
pub(crate) fn whole(a: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => a.round_ties_even(),
        Round::Zero => a.trunc(),
        Round::Down => a.floor(),
        Round::Up => a.ceil(),
    }
}

/// Rounds a whole number to f32.
#[inline(always)]
pub(crate) fn from_int(a: i128, round: Round) -> f32 {
    // Two f64 hold the number exactly: one has the upper 53 of its 64 bits, the other the rest.
    let s = a as f64;
    let e = (a - s as i128) as f64;
    round_sum(s, e, round)
}

/// Rounds a whole number to f64.
pub(crate) fn from_int64(a: i128, round: Round) -> f64 {
    let near = a as f64;
    let over = a - near as i128;
    match round {
        Round::Up if over > 0 => near.next_up(),
        Round::Down if over < 0 => near.next_down(),
        Round::Zero if over > 0 && near < 0.0 => near.next_up(),
        Round::Zero if over < 0 && near > 0.0 => near.next_down(),
        _ => near,
    }
}

/// The smaller of two values. A number wins over NaN unless `nan` is set; -0 is below +0.
#[inline(always)]
pub(crate) fn min(a: f32, b: f32, nan: bool) -> f32 {
    if a.is_nan() || b.is_nan() {
        return if nan || (a.is_nan() && b.is_nan()) {
            f32::from_bits(NAN)
        } else if a.is_nan() {
            b
        } else {
            a
        };
    }
    if a < b || (a == b && a.is_sign_negative()) { a } else { b }
}

/// The larger of two values, under the rules of [`min`].
#[inline(always)]
pub(crate) fn max(a: f32, b: f32, nan: bool) -> f32 {
    if a.is_nan() || b.is_nan() {
        return min(a, b, nan);
    }
    if a > b || (a == b && !a.is_sign_negative()) { a } else { b }
}

/// Rounds an f32 to the bits of a bf16, towards zero or to nearest. NaN becomes 0x7fff.
#[inline(always)]
pub(crate) fn to_bf16(a: f32, round: Round) -> u16 {
    if a.is_nan() {
        return 0x7fff;
    }
    let bits = a.to_bits();
    match round {
        Round::Zero => (bits >> 16) as u16,
        _ => ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16,
    }
}

/// The value of an f16.
#[inline(always)]
pub(crate) fn from_f16(a: u16) -> f32 {
    let (exponent, mantissa) = (u32::from(a >> 10 & 31), u32::from(a & 0x3ff));
    let magnitude = match exponent {
        // Exact, as the product has at most ten bits.
        0 => (mantissa as f32 * 2f32.powi(-24)).to_bits(),
        31 => 0x7f80_0000 | mantissa << 13,
        _ => (exponent + 112) << 23 | mantissa << 13,
    };
    f32::from_bits(u32::from(a >> 15) << 31 | magnitude)
}

/// The value of a bf16.
pub(crate) fn from_bf16(a: u16) -> f32 {
    f32::from_bits(u32::from(a) << 16)
}

/// Computes `a b + c`, where the product is exact in f64, rounded to odd: a second rounding to half of the bits is then the
/// only one.
#[inline(always)]
pub(crate) fn fused(a: f64, b: f64, c: f64) -> f64 {
    let (s, e) = two_sum(a * b, c);
    to_odd(s, e)
}

/// Computes `a b + c` on bf16 bits with one rounding.
pub(crate) fn fma_bf16(a: u16, b: u16, c: u16) -> u16 {
    let (a, b, c) = (from_bf16(a), from_bf16(b), from_bf16(c));
    let (s, e) = two_sum(f64::from(a) * f64::from(b), f64::from(c));
    // Rounding to odd in f32 as well makes the last rounding the only one.
    let odd = to_odd(s, e);
    let near = odd as f32;
    if !near.is_finite() || f64::from(near) == odd {
        return to_bf16(near, Round::Nearest);
    }
    let cut = round_sum(odd, 0.0, Round::Zero);
    to_bf16(f32::from_bits(cut.to_bits() | 1), Round::Nearest)
}
