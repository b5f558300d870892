//! Products of float matrices.

use half::f16;

use super::elements::{MOST_A, MOST_B, MOST_C, Sizes, collect_d, spread_a, spread_b, spread_c};
use crate::extended::{Element, Fragment, Multiply};
use crate::float::NAN;
use crate::lanes::map;
use crate::registers::Registers;

/// The sums of two biased exponents between which the product of two factors of 11 bits is a number that f32 holds exactly:
/// it stays below 2^128, and has no bit below 2^-149.
const EXACT: std::ops::RangeInclusive<u32> = 125..=380;

/// The NaN that a product has as its result in f16.
const NAN_F16: u16 = 0x7fff;

/// The f32 of an f16's bits, which is exact. It has no branch, so that loops over it vectorise.
#[inline(always)]
fn from_f16(bits: u32) -> f32 {
    let magnitude = (bits & 0x7fff) << 13;
    // The exponents of f16 and f32 differ by 112; the product makes denormals right too.
    let scaled = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x0f80_0000 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | (bits & 0x8000) << 16)
}

/// The f32 of an e4m3's bits, which is exact. It has no infinity, and one NaN of each sign.
#[inline(always)]
fn from_e4m3(bits: u32) -> f32 {
    let magnitude = bits & 0x7f;
    let scaled = f32::from_bits(magnitude << 20) * f32::from_bits((127 + 120) << 23);
    let special = if magnitude == 0x7f { 0x7fc0_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | (bits & 0x80) << 24)
}

/// Spreads A or B as f32, which `spread_a` or `spread_b` does.
macro_rules! spread {
    ($spread:ident, $r:expr, $fragment:expr, $sizes:expr, $out:expr) => {
        match $fragment.element {
            Element::F16 => $spread::<f32, 2>($r, $fragment, $sizes, $out, |w, e| from_f16(w >> (16 * e))),
            Element::Bf16 => $spread::<f32, 2>($r, $fragment, $sizes, $out, |w, e| {
                f32::from_bits(if e == 0 { w << 16 } else { w & 0xffff_0000 })
            }),
            Element::E4m3 => $spread::<f32, 4>($r, $fragment, $sizes, $out, |w, e| from_e4m3(w >> (8 * e))),
            Element::E5m2 => {
                $spread::<f32, 4>($r, $fragment, $sizes, $out, |w, e| from_f16((w >> (8 * e) & 0xff) << 8))
            }
            _ => $spread::<f32, 1>($r, $fragment, $sizes, $out, |w, _| f32::from_bits(w & !0x1fff)),
        }
    };
}

/// Computes a product whose sums are f32.
pub(super) fn multiply(r: &mut Registers, product: &Multiply) {
    let sizes = Sizes::of(product);
    let [in_a, in_b, in_c] = sizes.counts();
    let (mut a, mut b, mut c) = ([0f32; MOST_A], [0f32; MOST_B], [0f32; MOST_C]);
    let (a, b, c) = (&mut a[..in_a], &mut b[..in_b], &mut c[..in_c]);
    spread!(spread_a, r, &product.a, sizes, a);
    spread!(spread_b, r, &product.b, sizes, b);
    spread_sums(r, &product.c, c);
    // The product of two f16 or of two of 8 bits always fits.
    let narrow = !matches!(product.a.element, Element::Bf16 | Element::Tf32);
    if narrow || exact(a, b) {
        sum(a, b, c, sizes, |a, b, c| a * b + c);
    } else {
        sum(a, b, c, sizes, f32::mul_add);
    }
    collect_sums(r, &product.d, c);
}

/// Whether every product of two of these factors is exact in f32.
fn exact(a: &[f32], b: &[f32]) -> bool {
    let ((least_a, most_a), (least_b, most_b)) = (exponents(a), exponents(b));
    EXACT.contains(&(least_a + least_b)) && EXACT.contains(&(most_a + most_b))
}

/// The least and the greatest biased exponent of factors that are not zero.
fn exponents(factors: &[f32]) -> (u32, u32) {
    let one = 1f32.to_bits() as i32;
    let (mut least, mut most) = (one, one);
    for factor in factors {
        let bits = (factor.to_bits() & 0x7fff_ffff) as i32;
        let bits = if bits == 0 { one } else { bits };
        least = least.min(bits);
        most = most.max(bits);
    }
    (least as u32 >> 23, most as u32 >> 23)
}

/// Adds the products to C in the order of ascending `k`. Two rows go together, so that their sums do not wait for each
/// other.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], c: &mut [f32], sizes: Sizes, fma: impl Fn(f32, f32, f32) -> f32) {
    for (b, c) in b.chunks_exact(8 * sizes.k).zip(c.chunks_exact_mut(8 * sizes.m)) {
        for (a, c) in a.chunks_exact(2 * sizes.k).zip(c.chunks_exact_mut(16)) {
            let mut sums = [0f32; 16];
            sums.copy_from_slice(c);
            let (upper, lower) = a.split_at(sizes.k);
            for ((&x, &y), b) in upper.iter().zip(lower).zip(b.chunks_exact(8)) {
                for j in 0..8 {
                    sums[j] = fma(x, b[j], sums[j]);
                }
                for j in 0..8 {
                    sums[8 + j] = fma(y, b[j], sums[8 + j]);
                }
            }
            c.copy_from_slice(&sums);
        }
    }
}

/// Spreads C.
fn spread_sums(r: &Registers, c: &Fragment, out: &mut [f32]) {
    if c.element != Element::F16 {
        return spread_c(c, out, |slot| map(r.word(slot), f32::from_bits));
    }
    for (&slot, out) in c.slots.iter().zip(out.chunks_exact_mut(64)) {
        for (&word, out) in r.word(slot).iter().zip(out.chunks_exact_mut(2)) {
            out[0] = from_f16(word);
            out[1] = from_f16(word >> 16);
        }
    }
}

/// Writes D, rounded to its type.
fn collect_sums(r: &mut Registers, d: &Fragment, sums: &[f32]) {
    if d.element != Element::F16 {
        let bits = |x: f32| if x.is_nan() { NAN } else { x.to_bits() };
        return collect_d(d, sums, |slot, lanes| r.words[slot as usize] = map(lanes, bits));
    }
    let bits = |x: f32| u32::from(if x.is_nan() { NAN_F16 } else { f16::from_f32(x).to_bits() });
    for (&slot, sums) in d.slots.iter().zip(sums.chunks_exact(64)) {
        for (word, sums) in r.words[slot as usize].iter_mut().zip(sums.chunks_exact(2)) {
            *word = bits(sums[0]) | bits(sums[1]) << 16;
        }
    }
}

/// Computes a product of f64 matrices.
pub(super) fn multiply64(r: &mut Registers, product: &Multiply) {
    let sizes = Sizes::of(product);
    let mut sums = [0f64; MOST_C];
    spread_c(&product.c, &mut sums, |slot| map(r.double(slot), f64::from_bits));
    let tiles = sizes.m / 8;
    for panel in 0..sizes.n / 8 {
        for row in 0..sizes.m {
            for column in 0..8 {
                let sum = &mut sums[(panel * sizes.m + row) * 8 + column];
                for k in 0..sizes.k {
                    let a = r.double(product.a.slots[row / 8 + k / 4 * tiles])[row % 8 * 4 + k % 4];
                    let b = r.double(product.b.slots[panel + k / 4 * (sizes.n / 8)])[column * 4 + k % 4];
                    *sum = f64::from_bits(a).mul_add(f64::from_bits(b), *sum);
                }
            }
        }
    }
    let bits = |x: f64| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
    collect_d(&product.d, &sums, |slot, lanes| r.doubles[slot as usize] = map(lanes, bits));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_converted_exactly() {
        for bits in 0..=u16::MAX {
            let (got, want) = (from_f16(u32::from(bits)), f16::from_bits(bits).to_f32());
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:#06x}: {got}");
        }
    }

    #[test]
    fn every_e4m3_is_its_sign_exponent_and_mantissa() {
        for bits in 0..256u32 {
            let (exponent, mantissa) = (bits >> 3 & 15, (bits & 7) as f32);
            let magnitude = match (exponent, bits & 7) {
                (15, 7) => f32::NAN,
                (0, _) => mantissa / 512.0,
                _ => (8.0 + mantissa) * 2f32.powi(exponent as i32 - 10),
            };
            let want = if bits < 128 { magnitude } else { -magnitude };
            let got = from_e4m3(bits);
            assert!(
                got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                "{bits:#04x}: {got} {want}"
            );
        }
    }
}
