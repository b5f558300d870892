//! The `.approx` functions. A GPU computes them in its special function unit with a stated maximum error. Here they are
//! as close as f64 allows, so they lie within that error, but their bits can differ from a GPU's.
//!
//! | function | error here against the exact value | error of a GPU (PTX ISA 8.4) |
//! |---|---|---|
//! | `ex2` | rounded, below 0.501 units in the last place | 2 units |
//! | `rcp` `sqrt` `rsqrt` | rounded (`rsqrt` below 0.501 units) | 1 unit, 1 unit to 2^-22.9 relative |
//! | `div.approx` `div.full` | rounded | 2 units |
//! | `lg2` | below 0.501 units | absolute 2^-22 near 1, else 2^-22.6 relative |
//! | `sin` `cos` | below 0.501 units of the exact argument | absolute 2^-20.9 in [-pi, pi] |
//! | `tanh` | below 0.501 units | 2^-11 relative |
//! | `ex2` `tanh` of f16 | rounded from f32 | 2^-9.9 relative, absolute 2^-10.987 |
//! | `ex2` `tanh` of bf16 | rounded from f32 | 2^-7 and 2^-8 relative |

use crate::lanes::{Lanes, map};

/// The Taylor coefficients of 2^x at 0, ln(2)^k / k!. On [-0.5, 0.5], degree 9 leaves a relative error below 2^-37.
const EX2: [f64; 10] = [
    1.0,
    std::f64::consts::LN_2,
    0.240_226_506_959_100_72,
    0.055_504_108_664_821_58,
    0.009_618_129_107_628_477,
    0.001_333_355_814_642_844_3,
    0.000_154_035_303_933_816_1,
    1.525_273_380_405_984e-5,
    1.321_548_679_014_43e-6,
    1.017_808_600_923_969_9e-7,
];

/// Computes 2^x. Results below the normal range are denormal; NaN stays NaN.
#[inline(always)]
pub(crate) fn ex2(x: f32) -> f32 {
    // Outside the clamp, the result is 0 or infinity whatever the fraction is. NaN passes through the clamp.
    let x = f64::from(x);
    let y = if x < -160.0 { -160.0 } else { x };
    let y = if y > 130.0 { 130.0 } else { y };
    // Adding 1.5 * 2^52 leaves the nearest whole number in the low bits of the sum.
    let shifted = y + 6_755_399_441_055_744.0;
    let n = shifted - 6_755_399_441_055_744.0;
    let r = y - n;
    let mut p = EX2[9];
    for k in (0..9).rev() {
        p = p * r + EX2[k];
    }
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    (p * scale) as f32
}

pub(crate) fn lg2(x: f32) -> f32 {
    f64::from(x).log2() as f32
}

#[inline(always)]
pub(crate) fn rsqrt(x: f32) -> f32 {
    (1.0 / f64::from(x).sqrt()) as f32
}

/// 1 / sqrt(x), below 0.501 units: the quotient of the rounded root is corrected by what its square lacks to 1 / x.
pub(crate) fn rsqrt64(x: f64) -> f64 {
    let y = 1.0 / x.sqrt();
    if !y.is_normal() || !x.is_normal() {
        return y;
    }
    let product = x * y;
    let rest = x.mul_add(y, -product);
    let lacks = (-product).mul_add(y, 1.0) - rest * y;
    (0.5 * y).mul_add(lacks, y)
}

pub(crate) fn sin(x: f32) -> f32 {
    f64::from(x).sin() as f32
}

pub(crate) fn cos(x: f32) -> f32 {
    f64::from(x).cos() as f32
}

pub(crate) fn tanh(x: f32) -> f32 {
    f64::from(x).tanh() as f32
}

/// Cuts a result to what `rcp.approx.ftz.f64` and `rsqrt.approx.f64` keep: 20 bits of mantissa, the low word zero.
pub(crate) fn coarse64(x: f64) -> f64 {
    flush64(f64::from_bits(x.to_bits() & 0xffff_ffff_0000_0000))
}

/// Turns denormals into zeros of their sign.
pub(crate) fn flush64(x: f64) -> f64 {
    if x.is_subnormal() { 0f64.copysign(x) } else { x }
}

/// Applies `f` to every lane, read and written as the bits of an f32.
#[inline(always)]
pub(crate) fn each(a: &Lanes<u32>, f: impl Fn(f32) -> f32) -> Lanes<u32> {
    map(a, |a| f(f32::from_bits(a)).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_rounded_from_f64() {
        let mut worst = 0f64;
        for k in -1_500_000..1_300_000 {
            let x = k as f32 * 1e-4;
            let exact = f64::from(x).exp2();
            let got = ex2(x);
            let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            worst = worst.max((f64::from(got) - exact).abs() / unit);
        }
        assert!(worst <= 0.501, "{worst}");
        assert_eq!((ex2(0.0), ex2(-0.0), ex2(10.0), ex2(-149.0)), (1.0, 1.0, 1024.0, f32::from_bits(1)));
        assert_eq!(
            (ex2(f32::NEG_INFINITY), ex2(f32::INFINITY), ex2(128.0)),
            (0.0, f32::INFINITY, f32::INFINITY)
        );
        assert!(ex2(f32::NAN).is_nan());
    }
}
