//! IEEE arithmetic of one rounding in every rounding mode, on [`Lanes`].
//!
//! A rounded-to-nearest sum, product, quotient and root of f32 is what the CPU computes. `fma` and the other modes go
//! through f64: the exact result is `s + e`, `s` the f64 sum and `e` its error. That needs no instruction that some CPUs
//! lack, vectorises, and gives the same bits on every machine.

use crate::isa::Round;

/// One value per thread of a warp.
pub(crate) type Lanes<T> = [T; 32];

/// `f` of every lane. Plain loops: `array::from_fn` and `map` are not always inlined, and then not vectorised.
#[inline(always)]
pub(crate) fn lanes<T: Copy + Default>(mut f: impl FnMut(usize) -> T) -> Lanes<T> {
    let mut out = [T::default(); 32];
    for l in 0..32 {
        out[l] = f(l);
    }
    out
}

#[inline(always)]
pub(crate) fn map<A: Copy, B: Copy + Default>(a: &Lanes<A>, f: impl Fn(A) -> B) -> Lanes<B> {
    lanes(|l| f(a[l]))
}

#[inline(always)]
pub(crate) fn zip<A: Copy, B: Copy, C: Copy + Default>(
    a: &Lanes<A>,
    b: &Lanes<B>,
    f: impl Fn(A, B) -> C,
) -> Lanes<C> {
    lanes(|l| f(a[l], b[l]))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: [Round; 4] = [Round::Nearest, Round::Zero, Round::Down, Round::Up];

    /// Floats of all kinds: near one, near the denormals, anywhere.
    fn floats(n: usize) -> impl Iterator<Item = f32> {
        let mut seed = 1u64;
        (0..n).map(move |k| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let x = (seed >> 32) as u32;
            f32::from_bits(match k % 3 {
                0 => x & 0x83ff_ffff | 0x3c00_0000,
                1 => x & 0x80ff_ffff,
                _ => x,
            })
        })
    }

    fn triples() -> impl Iterator<Item = (f32, f32, f32)> {
        let n = 300_000;
        let all = floats(n).zip(floats(n + 1).skip(1)).zip(floats(n + 7).skip(7));
        // A quarter cancel almost or altogether.
        all.enumerate().map(|(k, ((a, b), c))| if k % 4 == 0 { (a, b, -(a * b)) } else { (a, b, c) })
    }

    fn same(x: f32, y: f32) -> bool {
        x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan()
    }

    #[test]
    fn fma_rounds_once() {
        for (a, b, c) in triples() {
            let (got, want) = (fma(a, b, c, Round::Nearest), a.mul_add(b, c));
            assert!(same(got, want), "{a:e} {b:e} {c:e}: {got:e}, not {want:e}");
        }
    }

    /// `got` is the neighbour of `s + e` (exactly) on the side of `round`.
    fn assert_rounded(got: f32, s: f64, e: f64, round: Round, what: &str) {
        // Whether x is below, at or above the exact value; the first difference is exact near it.
        let against = |x: f32| (f64::from(x) - s).partial_cmp(&e).unwrap();
        use std::cmp::Ordering::{Equal, Greater, Less};
        let towards_zero_is_down = s > 0.0;
        let fine = match round {
            Round::Nearest => true,
            Round::Down => against(got) != Greater && against(got.next_up()) == Greater,
            Round::Up => against(got) != Less && against(got.next_down()) == Less,
            Round::Zero if towards_zero_is_down => {
                against(got) != Greater && against(got.next_up()) == Greater
            }
            Round::Zero => against(got) != Less && (got == 0.0 || against(got.next_down()) == Less),
        };
        assert!(fine || against(got) == Equal, "{what} {round:?}: {got:e} for {s:e} + {e:e}");
    }

    #[test]
    fn directed_results_are_the_neighbour_on_their_side() {
        for (a, b, c) in triples().filter(|(a, b, c)| a.is_finite() && b.is_finite() && c.is_finite()) {
            for round in ROUNDS {
                let p = f64::from(a) * f64::from(b);
                assert_rounded(mul(a, b, round), p, 0.0, round, "mul");
                let (s, e) = two_sum(f64::from(a), f64::from(c));
                assert_rounded(add(a, c, round), s, e, round, "add");
                let (s, e) = two_sum(p, f64::from(c));
                assert_rounded(fma(a, b, c, round), s, e, round, "fma");
            }
        }
    }

    #[test]
    fn directed_quotients_and_roots_bracket_the_exact_value() {
        for (a, b, _) in triples().filter(|(a, b, _)| a.is_finite() && b.is_finite() && *b != 0.0) {
            let (down, up) = (div(a, b, Round::Down), div(a, b, Round::Up));
            // Products of two f32 are exact in f64.
            let product = |q: f32| f64::from(q) * f64::from(b) * f64::from(b.signum());
            let exact = f64::from(a) * f64::from(b.signum());
            if down.is_finite() && up.is_finite() {
                assert!(product(down) <= exact && exact <= product(up), "{a:e} / {b:e}: {down:e} {up:e}");
                assert!(down == up || down.next_up() == up, "{a:e} / {b:e}: {down:e} {up:e}");
            }
            let a = a.abs();
            let (down, up) = (sqrt(a, Round::Down), sqrt(a, Round::Up));
            let square = |x: f32| f64::from(x) * f64::from(x);
            assert!(
                square(down) <= f64::from(a) && f64::from(a) <= square(up),
                "sqrt {a:e}: {down:e} {up:e}"
            );
            assert!(down == up || down.next_up() == up, "sqrt {a:e}: {down:e} {up:e}");
        }
    }

    #[test]
    fn limits_of_the_range() {
        assert_eq!(mul(f32::MAX, 2.0, Round::Zero), f32::MAX);
        assert_eq!(mul(f32::MAX, 2.0, Round::Up), f32::INFINITY);
        assert_eq!(mul(f32::MAX, -2.0, Round::Up), -f32::MAX);
        assert_eq!(div(f32::MAX, 0.5, Round::Down), f32::MAX);
        assert_eq!(div(1.0, 0.0, Round::Down), f32::INFINITY);
        let least = f32::from_bits(1);
        assert_eq!(mul(least, 0.5, Round::Up), least);
        assert_eq!(mul(least, 0.25, Round::Nearest), 0.0);
        assert!(add(1.0, -1.0, Round::Down).is_sign_negative());
        assert!(fma(1.0, 1.0, -1.0, Round::Up).is_sign_positive());
        assert_eq!(from_int(i128::from(u64::MAX), Round::Zero), 1.844_674_3e19);
        assert_eq!(from_int(i128::from(u64::MAX), Round::Nearest), 1.844_674_4e19);
        assert_eq!(from_int(-16_777_217, Round::Down), -16_777_218.0);
        assert_eq!(from_int(-16_777_217, Round::Up), -16_777_216.0);
        assert_eq!(narrow(1.0 + 1e-12, Round::Up), 1.0f32.next_up());
    }

    #[test]
    fn bf16_rounds_once() {
        assert_eq!(to_bf16(1.0, Round::Nearest), 0x3f80);
        // Half a unit above one goes to even, a little more goes up.
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8000), Round::Nearest), 0x3f80);
        assert_eq!(to_bf16(f32::from_bits(0x3f81_8000), Round::Nearest), 0x3f82);
        assert_eq!(to_bf16(f32::from_bits(0x3f80_8001), Round::Nearest), 0x3f81);
        assert_eq!(to_bf16(f32::from_bits(0x3f80_ffff), Round::Zero), 0x3f80);
        assert_eq!(to_bf16(f32::MAX, Round::Nearest), 0x7f80);
        assert_eq!(to_bf16(f32::NAN, Round::Nearest), 0x7fff);
        // 1 x 1 + 2^-8 + a trace lies above the tie that f32 would see.
        let (one, tie, trace) = (0x3f80, 0x3b80, 0x0080);
        assert_eq!(fma_bf16(one, one, tie), 0x3f80);
        assert_eq!(fma_bf16(trace, one, to_bf16(1.0, Round::Nearest)), 0x3f80);
        let above = fma_bf16(
            to_bf16(1.0 + 1.0 / 128.0, Round::Nearest),
            to_bf16(1.0 + 1.0 / 128.0, Round::Nearest),
            0,
        );
        assert_eq!(from_bf16(above), 1.015_625);
    }

    #[test]
    fn min_and_max_prefer_numbers_and_order_zeros() {
        let nan = f32::NAN;
        assert_eq!(min(nan, 1.0, false), 1.0);
        assert_eq!(max(1.0, nan, false), 1.0);
        assert!(min(nan, 1.0, true).is_nan() && max(nan, nan, false).is_nan());
        assert!(min(0.0, -0.0, false).is_sign_negative() && min(-0.0, 0.0, false).is_sign_negative());
        assert!(max(0.0, -0.0, false).is_sign_positive() && max(-0.0, 0.0, false).is_sign_positive());
        assert_eq!((saturate(nan), saturate(2.0), saturate(-1.0)), (0.0, 1.0, 0.0));
    }
}
