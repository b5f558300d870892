use super::*;

const ROUNDS: [Round; 4] = [Round::Nearest, Round::Zero, Round::Down, Round::Up];

/// Draws floats of all kinds: near one, near the denormals, and anywhere.
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
    // In a quarter of the triples the sum cancels almost or altogether.
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

/// Asserts that `got` is the neighbour of the exact value `s + e` on the side of `round`.
fn assert_rounded(got: f32, s: f64, e: f64, round: Round, what: &str) {
    // Says whether x is below, at or above the exact value; the first difference is exact near it.
    let against = |x: f32| (f64::from(x) - s).partial_cmp(&e).unwrap();
    use std::cmp::Ordering::{Equal, Greater, Less};
    let towards_zero_is_down = s > 0.0;
    let fine = match round {
        Round::Nearest => true,
        Round::Down => against(got) != Greater && against(got.next_up()) == Greater,
        Round::Up => against(got) != Less && against(got.next_down()) == Less,
        Round::Zero if towards_zero_is_down => against(got) != Greater && against(got.next_up()) == Greater,
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
        // The product of two f32 is exact in f64.
        let product = |q: f32| f64::from(q) * f64::from(b) * f64::from(b.signum());
        let exact = f64::from(a) * f64::from(b.signum());
        if down.is_finite() && up.is_finite() {
            assert!(product(down) <= exact && exact <= product(up), "{a:e} / {b:e}: {down:e} {up:e}");
            assert!(down == up || down.next_up() == up, "{a:e} / {b:e}: {down:e} {up:e}");
        }
        let a = a.abs();
        let (down, up) = (sqrt(a, Round::Down), sqrt(a, Round::Up));
        let square = |x: f32| f64::from(x) * f64::from(x);
        assert!(square(down) <= f64::from(a) && f64::from(a) <= square(up), "sqrt {a:e}: {down:e} {up:e}");
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
    // Half a unit above one goes to even; a little more goes up.
    assert_eq!(to_bf16(f32::from_bits(0x3f80_8000), Round::Nearest), 0x3f80);
    assert_eq!(to_bf16(f32::from_bits(0x3f81_8000), Round::Nearest), 0x3f82);
    assert_eq!(to_bf16(f32::from_bits(0x3f80_8001), Round::Nearest), 0x3f81);
    assert_eq!(to_bf16(f32::from_bits(0x3f80_ffff), Round::Zero), 0x3f80);
    assert_eq!(to_bf16(f32::MAX, Round::Nearest), 0x7f80);
    assert_eq!(to_bf16(f32::NAN, Round::Nearest), 0x7fff);
    // 1 x 1 + 2^-8 plus a trace lies above the tie that f32 would see.
    let (one, tie, trace) = (0x3f80, 0x3b80, 0x0080);
    assert_eq!(fma_bf16(one, one, tie), 0x3f80);
    assert_eq!(fma_bf16(trace, one, to_bf16(1.0, Round::Nearest)), 0x3f80);
    let above =
        fma_bf16(to_bf16(1.0 + 1.0 / 128.0, Round::Nearest), to_bf16(1.0 + 1.0 / 128.0, Round::Nearest), 0);
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

/// Against the crate that the rest of the project converts with.
#[test]
fn f16_is_that_of_others() {
    for bits in 0..=u16::MAX {
        let want = half::f16::from_bits(bits).to_f32();
        assert!(same(from_f16(bits), want), "{bits:#x}: {:e}, not {want:e}", from_f16(bits));
    }
    let dense = (0x3280_0000..0x4790_0000).step_by(1009);
    for bits in dense.chain((0..=u32::MAX).step_by(99_991)) {
        let x = f32::from_bits(bits);
        let want = if x.is_nan() { 0x7fff } else { half::f16::from_f32(x).to_bits() };
        assert_eq!(to_f16(x), want, "{x:e}");
        assert_eq!(to_f16(-x), if x.is_nan() { 0x7fff } else { want ^ 0x8000 }, "{x:e}");
    }
}
