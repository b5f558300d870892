//! Less frequent operations on words: permutations, masks, saturated sums, pairs of halves, and conversions.

use crate::half_float::extreme32;
use crate::integer;
use crate::isa::{Int2, Permute, Slot, WordOp};
use crate::lanes::lanes;
use crate::registers::Registers;
use crate::small::{narrow, narrow_pair};
use crate::types::Type;
use crate::video::{self, field};

/// Executes `f` for the lanes of `m`.
#[cold]
#[inline(never)]
pub(crate) fn execute(r: &mut Registers, f: WordOp, [d, a, b, c]: [Slot; 4], m: u32) {
    let (a, b, c) = (r.word(a), r.word(b), r.word(c));
    let v = match f {
        WordOp::Pairs { f, signed, relu } => {
            let ty = if signed { Type::S16 } else { Type::U16 };
            let half = |shift: u32| {
                let (a, b) = (lanes(|l| a[l] >> shift), lanes(|l| b[l] >> shift));
                integer::binary(f, ty, &a, &b)
            };
            let (low, high) = (half(0), half(16));
            let positive = |x: u32| if relu && x & 0x8000 != 0 { 0 } else { x };
            lanes(|l| positive(low[l]) | positive(high[l]) << 16)
        }
        WordOp::Relu { max } => {
            let f = if max { Int2::Max } else { Int2::Min };
            let v = integer::binary(f, Type::S32, a, b);
            lanes(|l| (v[l] as i32).max(0) as u32)
        }
        _ => lanes(|l| one(f, a[l], b[l], c[l])),
    };
    r.set_word(d, &v, m);
}

/// The result of one lane.
fn one(f: WordOp, a: u32, b: u32, c: u32) -> u32 {
    match f {
        WordOp::Permute(how) => permute(how, a, b, c & 3),
        WordOp::Dp2a { high, a_signed, b_signed } => {
            let half = |k: u32| field(a, 16 * k, 16, a_signed);
            let byte = |k: u32| field(b, 8 * k, 8, b_signed);
            let first = if high { 2 } else { 0 };
            let sum = half(0) * byte(first) + half(1) * byte(first + 1);
            c.wrapping_add(sum as u32)
        }
        WordOp::Mask { clamp } => mask(clamp, a, b),
        WordOp::Extend { clamp, signed } => {
            if clamp && b >= 32 {
                return a;
            }
            match b & 31 {
                0 => 0,
                n => field(a, 0, n, signed) as u32,
            }
        }
        WordOp::FindSet => find_set(a, b, c as i32),
        WordOp::Product24 { high, signed, add, sat } => {
            let p = field(a, 0, 24, signed) * field(b, 0, 24, signed);
            let part = if high { p >> 16 } else { p } as u32;
            match (add, sat) {
                (false, _) => part,
                (true, false) => part.wrapping_add(c),
                (true, true) => (part as i32).saturating_add(c as i32) as u32,
            }
        }
        WordOp::AddSat { subtract: false } => (a as i32).saturating_add(b as i32) as u32,
        WordOp::AddSat { subtract: true } => (a as i32).saturating_sub(b as i32) as u32,
        WordOp::MadSat => {
            let high = ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as i32;
            high.saturating_add(c as i32) as u32
        }
        WordOp::PackSat { bits, signed } => pack(bits, signed, a, b, c),
        WordOp::Extreme32 { f, ftz } => extreme32(f, ftz, a, b),
        WordOp::Narrow(how) => narrow(f64::from(f32::from_bits(a)), how),
        WordOp::NarrowPair { from, how } => narrow_pair(from, how, a),
        WordOp::Video(how) => video::scalar(how, a, b, c),
        WordOp::Simd(how) => video::simd(how, a, b, c),
        WordOp::Pairs { .. } | WordOp::Relu { .. } => unreachable!("executed for all lanes together"),
    }
}

/// Picks four bytes of the pair `b a`, by a selector from 0 to 3.
fn permute(how: Permute, a: u32, b: u32, selector: u32) -> u32 {
    let pair = u64::from(b) << 32 | u64::from(a);
    (0..4).fold(0, |out, k| {
        let from = match how {
            Permute::Forward4 => selector + k,
            Permute::Backward4 => selector.wrapping_sub(k) & 7,
            Permute::Replicate8 => selector,
            Permute::EdgeLeft => k.max(selector),
            Permute::EdgeRight => k.min(selector),
            Permute::Replicate16 => 2 * (selector & 1) + (k & 1),
        };
        out | ((pair >> (8 * from)) as u32 & 0xff) << (8 * k)
    })
}

/// `len` ones from bit `pos` on, as far as they lie in the word.
fn mask(clamp: bool, pos: u32, len: u32) -> u32 {
    let (pos, len) = if clamp { (pos.min(32), len.min(32)) } else { (pos & 31, len & 31) };
    (((1u64 << len) - 1) << pos) as u32
}

/// The position of the set bit that is `offset` set bits away from `base`, which counts itself; all ones if there is none.
fn find_set(bits: u32, base: u32, offset: i32) -> u32 {
    if base > 31 {
        return u32::MAX;
    }
    let set = |pos: &u32| bits >> pos & 1 == 1;
    let nth = offset.unsigned_abs().saturating_sub(1) as usize;
    let found = match offset.signum() {
        0 => Some(base).filter(set),
        1 => (base..32).filter(set).nth(nth),
        _ => (0..=base).rev().filter(set).nth(nth),
    };
    found.unwrap_or(u32::MAX)
}

/// Clamps two signed words to a type of `bits` bits and puts them, `b` lowest, below the low bits of `c`.
fn pack(bits: u32, signed: bool, a: u32, b: u32, c: u32) -> u32 {
    let (low, high) =
        if signed { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
    let clamped = |x: u32| (i64::from(x as i32).clamp(low, high) as u64) & ((1 << bits) - 1);
    (clamped(b) | clamped(a) << bits | u64::from(c) << (2 * bits)) as u32
}
