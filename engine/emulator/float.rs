//! IEEE arithmetic of one rounding in every rounding mode, on [`Lanes`].
//!
//! A rounded-to-nearest sum, product, quotient and root of f32 is what the CPU computes. The other modes, and `fma` on
//! a CPU without the instruction, go through f64: the exact result is `s + e`, `s` the f64 sum and `e` its error.

use crate::isa::Round;

/// One value per thread of a warp.
pub(crate) type Lanes<T> = [T; 32];

/// NaN as PTX arithmetic writes it.
pub(crate) const NAN: u32 = 0x7fff_ffff;

/// Denormals to zeros of the same sign.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// `.sat`: to [0, 1], NaN to +0.
#[inline(always)]
pub(crate) fn saturate(x: f32) -> f32 {
    // Comparisons with NaN are false.
    if x > 0.0 { if x < 1.0 { x } else { 1.0 } } else { 0.0 }
}

#[inline(always)]
fn next_up(x: f32) -> f32 {
    x.next_up()
}

/// `exact = s + e` with `|e|` at most half a unit in the last place of `s`, rounded once to f32.
#[inline(always)]
pub(crate) fn round_sum(s: f64, e: f64, round: Round) -> f32 {
    if let Round::Nearest = round {
        return to_odd(s, e) as f32;
    }
    let near = s as f32;
    if !near.is_finite() && !s.is_finite() {
        return near;
    }
    // The sign of exact - near. The difference of an f64 and an f32 near it is exact.
    let d = if near.is_finite() { s - f64::from(near) } else { -f64::from(near) };
    let over = if d != 0.0 { d } else { e };
    directed(near, over, round)
}

/// Moves `near`, a neighbour of the exact value, to the side `round` asks for; `over` has the sign of exact - near.
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
        next_up(near)
    } else if down {
        near.next_down()
    } else {
        near
    }
}

/// Rounds `s + e` to odd in f64, so that rounding that to f32 is rounding once.
#[inline(always)]
fn to_odd(s: f64, e: f64) -> f64 {
    let bits = s.to_bits();
    // Towards e by one unit if e is not zero and the last bit is even.
    let inexact = e != 0.0 && s.is_finite();
    let away = (e > 0.0) == (s > 0.0);
    let even = bits & 1 == 0;
    let moved = if away { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if inexact && even { moved } else { bits })
}

/// `a + b` as the f64 sum and its error.
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// What zero result a sum of opposite values has: -0 when rounding down.
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

#[inline(always)]
pub(crate) fn add(a: f32, b: f32, round: Round) -> f32 {
    if let Round::Nearest = round {
        return a + b;
    }
    let (a, b) = (f64::from(a), f64::from(b));
    let (s, e) = two_sum(a, b);
    round_sum(zero_sign(s, a, b, round), e, round)
}

#[inline(always)]
pub(crate) fn mul(a: f32, b: f32, round: Round) -> f32 {
    if let Round::Nearest = round {
        return a * b;
    }
    round_sum(f64::from(a) * f64::from(b), 0.0, round)
}

#[inline(always)]
pub(crate) fn fma(a: f32, b: f32, c: f32, round: Round) -> f32 {
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let (s, e) = two_sum(p, c);
    round_sum(zero_sign(s, p, c, round), e, round)
}

#[inline(always)]
pub(crate) fn div(a: f32, b: f32, round: Round) -> f32 {
    let q = a / b;
    if round == Round::Nearest || !a.is_finite() || !b.is_finite() || b == 0.0 || a == 0.0 {
        return q;
    }
    // a - q b has the sign of (exact - q) b; q b is exact in f64. A quotient that overflowed lies below infinity.
    let over = if q.is_finite() {
        let (r, e) = two_sum(f64::from(a), -(f64::from(q) * f64::from(b)));
        let r = if r != 0.0 { r } else { e };
        if b < 0.0 { -r } else { r }
    } else {
        -f64::from(q)
    };
    directed(q, over, round)
}

#[inline(always)]
pub(crate) fn sqrt(a: f32, round: Round) -> f32 {
    let s = a.sqrt();
    if round == Round::Nearest || !s.is_finite() || s == 0.0 {
        return s;
    }
    directed(s, f64::from(a) - f64::from(s) * f64::from(s), round)
}

/// f64 to f32.
#[inline(always)]
pub(crate) fn narrow(a: f64, round: Round) -> f32 {
    if a.is_nan() { f32::NAN } else { round_sum(a, 0.0, round) }
}

/// To a whole value.
#[inline(always)]
pub(crate) fn whole(a: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => a.round_ties_even(),
        Round::Zero => a.trunc(),
        Round::Down => a.floor(),
        Round::Up => a.ceil(),
    }
}

/// A whole number to f32.
#[inline(always)]
pub(crate) fn from_int(a: i128, round: Round) -> f32 {
    // Exact as two f64: 64 bits are the upper 53 and the rest.
    let s = a as f64;
    let e = (a - s as i128) as f64;
    round_sum(s, e, round)
}

/// A whole number to f64.
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

/// min and max: NaN loses to a number unless `nan` asks for it; -0 is below +0.
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

#[inline(always)]
pub(crate) fn max(a: f32, b: f32, nan: bool) -> f32 {
    if a.is_nan() || b.is_nan() {
        return min(a, b, nan);
    }
    if a > b || (a == b && !a.is_sign_negative()) { a } else { b }
}

/// f32 to bf16 bits. NaN is 0x7fff.
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

#[inline(always)]
pub(crate) fn from_bf16(a: u16) -> f32 {
    f32::from_bits(u32::from(a) << 16)
}

/// `a b + c` of bf16 with one rounding.
pub(crate) fn fma_bf16(a: u16, b: u16, c: u16) -> u16 {
    let (a, b, c) = (from_bf16(a), from_bf16(b), from_bf16(c));
    let (s, e) = two_sum(f64::from(a) * f64::from(b), f64::from(c));
    // To odd again in f32, so that the last rounding is the only one.
    let odd = to_odd(s, e);
    let near = odd as f32;
    if !near.is_finite() || f64::from(near) == odd {
        return to_bf16(near, Round::Nearest);
    }
    let cut = round_sum(odd, 0.0, Round::Zero);
    to_bf16(f32::from_bits(cut.to_bits() | 1), Round::Nearest)
}
