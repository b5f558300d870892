//! `fma.rn.f32` on a warp: the instruction where the CPU has it, f64 with a corrected rounding elsewhere.

use crate::float::{self, Lanes, NAN};
use crate::isa::Round;

/// `a b + c` in every lane, rounded once.
pub(crate) fn fma_lanes(a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>) -> Lanes<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the instruction sets the function is compiled for were detected in the line above.
        return unsafe { fused(a, b, c) };
    }
    portable(a, b, c)
}

#[inline(always)]
fn out(x: f32) -> u32 {
    if x.is_nan() { NAN } else { x.to_bits() }
}

/// Without this, four times slower: a library call per lane, or the arithmetic in [`portable`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fused(a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>) -> Lanes<u32> {
    let f = f32::from_bits;
    std::array::from_fn(|l| out(f(a[l]).mul_add(f(b[l]), f(c[l]))))
}

fn portable(a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>) -> Lanes<u32> {
    let f = f32::from_bits;
    std::array::from_fn(|l| out(float::fma(f(a[l]), f(b[l]), f(c[l]), Round::Nearest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Awkward operands: every pair of exponents near the limits, cancelling sums, ties, denormals.
    #[test]
    fn both_ways_agree_with_the_library() {
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 32) as u32
        };
        for round in 0..20_000 {
            let mut lanes = || -> Lanes<u32> {
                std::array::from_fn(|l| {
                    let x = next();
                    // A third with exponents near one, a third near the denormals, a third anywhere.
                    match (l + round) % 3 {
                        0 => x & 0x83ff_ffff | 0x3c00_0000,
                        1 => x & 0x80ff_ffff,
                        _ => x,
                    }
                })
            };
            let (a, b, mut c) = (lanes(), lanes(), lanes());
            for l in (0..32).step_by(4) {
                c[l] = (-(f32::from_bits(a[l]) * f32::from_bits(b[l]))).to_bits();
            }
            let f = f32::from_bits;
            let expected: Lanes<u32> = std::array::from_fn(|l| out(f(a[l]).mul_add(f(b[l]), f(c[l]))));
            assert_eq!(portable(&a, &b, &c), expected);
            assert_eq!(fma_lanes(&a, &b, &c), expected);
        }
    }
}
