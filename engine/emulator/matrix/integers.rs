//! Products of matrices of whole numbers, and counts of bits.

use super::elements::{MOST_A, MOST_B, MOST_C, Sizes, collect_d, spread_a, spread_b, spread_c};
use crate::extended::{Element, Multiply};
use crate::isa::Logic;
use crate::lanes::map;
use crate::registers::Registers;

/// The 8 or 4 bits at the bottom of `word` as a number.
#[inline(always)]
fn number(word: u32, bits: u32, signed: bool) -> i16 {
    let top = word << (32 - bits);
    if signed { (top as i32 >> (32 - bits)) as i16 } else { (top >> (32 - bits)) as i16 }
}

/// Spreads A or B, which `spread_a` or `spread_b` does.
macro_rules! spread {
    ($spread:ident, $r:expr, $fragment:expr, $sizes:expr, $out:expr) => {
        match $fragment.element {
            Element::S8 => {
                $spread::<i16, 4>($r, $fragment, $sizes, $out, |w, e| number(w >> (8 * e), 8, true))
            }
            Element::U8 => {
                $spread::<i16, 4>($r, $fragment, $sizes, $out, |w, e| number(w >> (8 * e), 8, false))
            }
            Element::S4 => {
                $spread::<i16, 8>($r, $fragment, $sizes, $out, |w, e| number(w >> (4 * e), 4, true))
            }
            _ => $spread::<i16, 8>($r, $fragment, $sizes, $out, |w, e| number(w >> (4 * e), 4, false)),
        }
    };
}

/// Computes a product whose sums are s32: they wrap, or what is over the range is clamped at the end.
pub(super) fn multiply(r: &mut Registers, product: &Multiply) {
    let sizes = Sizes::of(product);
    let [in_a, in_b, in_c] = sizes.counts();
    let (mut a, mut b, mut c) = ([0i16; MOST_A], [0i16; MOST_B], [0i32; MOST_C]);
    let (a, b, c) = (&mut a[..in_a], &mut b[..in_b], &mut c[..in_c]);
    spread!(spread_a, r, &product.a, sizes, a);
    spread!(spread_b, r, &product.b, sizes, b);
    spread_c(&product.c, c, |slot| map(r.word(slot), |x| x as i32));
    for (b, c) in b.chunks_exact(8 * sizes.k).zip(c.chunks_exact_mut(8 * sizes.m)) {
        for (a, c) in a.chunks_exact(sizes.k).zip(c.chunks_exact_mut(8)) {
            // At most 64 products of 16 bits: their sum does not overflow.
            let mut sums = [0i32; 8];
            for (&x, b) in a.iter().zip(b.chunks_exact(8)) {
                for j in 0..8 {
                    sums[j] += i32::from(x) * i32::from(b[j]);
                }
            }
            for j in 0..8 {
                let add = if product.saturate { i32::saturating_add } else { i32::wrapping_add };
                c[j] = add(c[j], sums[j]);
            }
        }
    }
    collect_d(&product.d, c, |slot, lanes| r.words[slot as usize] = map(lanes, |x| x as u32));
}

/// Counts the bits that a row of A and a column of B have together, or that only one of them has.
pub(super) fn multiply_bits(r: &mut Registers, product: &Multiply) {
    let sizes = Sizes::of(product);
    let mut c = [0u32; MOST_C];
    spread_c(&product.c, &mut c, |slot| *r.word(slot));
    let tiles = sizes.m / 8;
    for row in 0..sizes.m {
        for column in 0..8 {
            for (tile, &slot) in product.b.slots.iter().enumerate() {
                let a = &r.word(product.a.slots[row / 8 + tile * tiles])[row % 8 * 4..][..4];
                let b = &r.word(slot)[column * 4..][..4];
                for (a, b) in a.iter().zip(b) {
                    let bits = if product.logic == Logic::And { a & b } else { a ^ b };
                    c[row * 8 + column] = c[row * 8 + column].wrapping_add(bits.count_ones());
                }
            }
        }
    }
    collect_d(&product.d, &c, |slot, lanes| r.words[slot as usize] = *lanes);
}
