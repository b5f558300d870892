use half::bf16;

use super::*;
use crate::simd_fn;

simd_fn! {
    fn apply<S>(s, function: &str, x: &[f32], y: &mut [f32]) {
        for i in (0..x.len()).step_by(S::LANES) {
            let v = s.read(x, i);
            let r = match function {
                "exp2" => s.exp2_product(v, s.splat(1.0)),
                "exp2_product" => s.exp2_product(v, s.splat(1.5)),
                "exp" => s.exp(v),
                "sigmoid" => s.sigmoid(v),
                "silu" => s.silu(v),
                "silu'" => s.silu_and_grad(v).1,
                "softplus" => s.softplus(v),
                "softplus'" => s.softplus_and_grad(v).1,
                "recip" => s.recip(v),
                "normal" => s.normal(v).0,
                "normal'" => s.normal(v).1,
                _ => unreachable!("no function {function}"),
            };
            s.write(y, i, r);
        }
    }
}

simd_fn! {
    fn total<S>(s, x: &[f32]) -> f32 {
        (0..x.len()).step_by(S::LANES).map(|i| s.sum(s.read(x, i))).sum()
    }
}

#[test]
fn every_level_agrees_with_f64() {
    let _turn = TURN.lock();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    type Function<'a> = (&'a str, &'a dyn Fn(f64) -> f64, f64);
    let functions: [Function; 9] = [
        ("exp2", &|x| x.exp2(), 4e-7),
        ("sigmoid", &sigmoid, 1e-5),
        ("silu", &|x| x * sigmoid(x), 1e-5),
        ("silu'", &|x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))), 4e-6),
        ("softplus", &|x| if x > 20.0 { x } else { x.exp().ln_1p() }, 1e-5),
        ("softplus'", &|x| if x > 20.0 { 1.0 } else { sigmoid(x) }, 1e-5),
        ("recip", &|x| 1.0 / x, 2.5e-7),
        ("exp", &|x| x.exp(), 1e-5),
        // Up to 2^60: where the product is rounded first, the exponent is off by half a unit in its last place.
        ("exp2_product", &|x| (1.5 * x).exp2(), 3e-6),
    ];
    let x: Vec<f32> = (0..40_003).map(|i| (i as f32 - 20_000.5) * 0.002).collect();
    for limit_to in [Level::Avx512, Level::Avx2, Level::Portable] {
        limit(limit_to);
        for (name, exact, tolerance) in &functions {
            let mut y = vec![f32::NAN; x.len()];
            apply(name, &x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let want = exact(f64::from(*x));
                // silu' crosses zero, so its error is absolute; the others are relative.
                let err = (f64::from(*y) - want).abs() / if *name == "silu'" { 1.0 } else { want.abs() };
                assert!(err <= *tolerance, "{limit_to:?} {name}({x}) = {y}, want {want}, error {err:e}");
            }
        }
        let mut one = [0.0];
        apply("exp2", &[0.0], &mut one);
        assert_eq!(one, [1.0], "2^0 must be exact: a frozen state must not drift");
        apply("exp2_product", &[0.0], &mut one);
        assert_eq!(one, [1.0], "2^0 must be exact, also of a product");
        apply("sigmoid", &[-1e4], &mut one);
        assert!(one[0].abs() < 1e-30, "sigmoid far below: {}", one[0]);
        let whole: Vec<f32> = (0..19).map(|i| (1 << i) as f32).collect();
        assert_eq!(total(&whole), ((1 << 19) - 1) as f32);
    }
    limit(Level::Avx512);
}

/// The distribution function by a series whose terms have one sign (Marsaglia 2004).
fn normal(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for k in 1..500 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    if x.abs() > 9.0 { f64::from(x > 0.0) } else { 0.5 + sum * density(x) }
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[test]
fn the_normal_distribution_agrees_with_its_series() {
    let _turn = TURN.lock();
    let mut x: Vec<f32> = (0..20_003).map(|i| (i as f32 - 10_001.5) * 0.002).collect();
    x.extend([0.0, -1e4, 1e4, -1e18, 1e18, f32::MAX, f32::MIN]);
    for limit_to in [Level::Avx512, Level::Avx2, Level::Portable] {
        limit(limit_to);
        for (name, exact) in [("normal", normal as fn(f64) -> f64), ("normal'", density)] {
            let mut y = vec![f32::NAN; x.len()];
            apply(name, &x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let error = (f64::from(*y) - exact(f64::from(*x))).abs();
                assert!(error <= 2e-7, "{limit_to:?} {name}({x}) = {y}, error {error:e}");
            }
        }
    }
    limit(Level::Avx512);
}

#[test]
fn every_level_rounds_to_bf16_as_the_scalar_does() {
    let _turn = TURN.lock();
    // All kinds of bits: denormals, infinities, NaNs whose kept half is that of infinity, and ties.
    let ties = (0..=u32::from(u16::MAX)).map(|upper| upper << 16 | 0x8000);
    let bits = (0..=u32::MAX).step_by(9973).chain(ties).chain([0x7F80_0001, 0xFF80_0001, 0x7F7F_FFFF]);
    let x: Vec<f32> = bits.map(f32::from_bits).collect();
    assert!(!x.len().is_multiple_of(8), "the last vector is not full");
    for limit_to in [Level::Avx512, Level::Avx2, Level::Portable] {
        limit(limit_to);
        let (mut rounded, mut wide) = (vec![bf16::ZERO; x.len()], vec![0.0f32; x.len()]);
        convert(&x, &mut rounded);
        convert(&rounded, &mut wide);
        for ((x, rounded), wide) in x.iter().zip(&rounded).zip(&wide) {
            let want = half::bf16::from_f32(*x);
            assert_eq!(rounded.to_bits(), want.to_bits(), "{limit_to:?}: {:#x}", x.to_bits());
            assert_eq!(<bf16 as Element>::from_f32(*x).to_bits(), want.to_bits(), "{:#x}", x.to_bits());
            assert_eq!(wide.to_bits(), u32::from(want.to_bits()) << 16, "{limit_to:?}: {:#x}", x.to_bits());
        }
    }
    limit(Level::Avx512);
}
