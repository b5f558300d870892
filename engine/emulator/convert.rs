//! Conversions between types (`cvt`).

use crate::float::{self, NAN, flush, saturate};
use crate::isa::{Convert, Round, Slot, Small, ToSmall};
use crate::lanes::{Lanes, each_lane, map, zip};
use crate::registers::Registers;
use crate::small::narrow;
use crate::types::{RegisterFile, Type};

/// Converts register `a` to register `d` for the lanes of `m`.
pub(crate) fn convert(c: &Convert, r: &mut Registers, d: Slot, a: Slot, m: u32) {
    if frequent(c, r, d, a, m) {
        return;
    }
    let wide = c.from.file() == RegisterFile::Double;
    each_lane(m, |l| {
        let bits = if wide { r.doubles[a as usize][l] } else { u64::from(r.words[a as usize][l]) };
        let v = value(c, bits);
        if c.register_bits == 64 {
            r.doubles[d as usize][l] = v;
        } else {
            r.words[d as usize][l] = v as u32;
        }
    });
}

/// Executes the forms that kernels are full of, in loops that vectorise. Returns false for the others.
#[inline(always)]
fn frequent(c: &Convert, r: &mut Registers, d: Slot, a: Slot, m: u32) -> bool {
    let near = c.round == Some(Round::Nearest) && !c.whole && !c.sat;
    let exact = c.to.integer() && c.from.integer() && !c.sat;
    match (c.to, c.from) {
        (Type::F32, Type::S32) if near => word(r, d, m, map(r.word(a), |x| (x as i32 as f32).to_bits())),
        (Type::F32, Type::U32) if near => word(r, d, m, map(r.word(a), |x| (x as f32).to_bits())),
        (Type::F32, Type::F32) if !c.whole => {
            word(r, d, m, map(r.word(a), |x| float32(c, f32::from_bits(x))))
        }
        (Type::Bf16, Type::F32) if near && !c.relu && !c.ftz && !c.finite => {
            word(r, d, m, map(r.word(a), |x| u32::from(float::to_bf16(f32::from_bits(x), Round::Nearest))));
        }
        (Type::F32, Type::Bf16) if !c.ftz && !c.sat => {
            word(r, d, m, map(r.word(a), |x| float32(c, float::from_bf16(x as u16))));
        }
        (to, from) if exact && to.bits() == 32 && from.bits() == 64 && c.register_bits == 32 => {
            word(r, d, m, map(r.double(a), |x| x as u32));
        }
        (to, Type::U32) if exact && to.bits() == 64 => {
            let v = map(r.word(a), u64::from);
            r.set_double(d, &v, m);
        }
        (to, Type::S32) if exact && to.bits() == 64 => {
            let v = map(r.word(a), |x| x as i32 as u64);
            r.set_double(d, &v, m);
        }
        _ => return false,
    }
    true
}

#[inline(always)]
fn word(r: &mut Registers, d: Slot, m: u32, v: Lanes<u32>) {
    r.set_word(d, &v, m);
}

/// The bits of the destination register for one value.
fn value(c: &Convert, bits: u64) -> u64 {
    let round = c.round.unwrap_or(Round::Nearest);
    if c.from.integer() {
        return from_int(c, wide(bits, c.from), round);
    }
    // The value of every float is exact in f64.
    let x = match c.from {
        Type::F64 => f64::from_bits(bits),
        Type::F32 if c.ftz => flush(f32::from_bits(bits as u32)).into(),
        Type::F32 => f32::from_bits(bits as u32).into(),
        Type::F16 => float::from_f16(bits as u16).into(),
        _ => float::from_bf16(bits as u16).into(),
    };
    if c.to.integer() {
        return to_int(c, x, round);
    }
    let x = if c.whole { float::whole(x, round) } else { x };
    // A whole value, or one of no more bits, needs no rounding.
    to_float(c, x, if c.whole { Round::Nearest } else { round })
}

/// Rounds a value to the float type of the destination.
fn to_float(c: &Convert, x: f64, round: Round) -> u64 {
    let to = match c.to {
        Type::F64 => return (if c.sat { saturate64(x) } else { x }).to_bits(),
        Type::F32 => return float32(c, float::narrow(x, round)).into(),
        Type::F16 => Small::F16,
        _ => Small::Bf16,
    };
    let x = if c.sat { saturate64(x) } else { x };
    narrow(x, ToSmall { to, round, away: false, relu: c.relu, finite: c.finite }).into()
}

/// Converts a whole number.
fn from_int(c: &Convert, x: i128, round: Round) -> u64 {
    match c.to {
        Type::F64 => {
            let x = float::from_int64(x, round);
            (if c.sat { saturate64(x) } else { x }).to_bits()
        }
        Type::F32 => {
            let x = float::from_int(x, round);
            u64::from(if c.sat { saturate(x) } else { x }.to_bits())
        }
        to if to.integer() => int_to_int(c, x),
        _ => {
            // Two f64 hold the number; rounding them to odd leaves one more rounding to the few bits of the destination.
            let s = x as f64;
            to_float(c, float::to_odd(s, (x - s as i128) as f64), round)
        }
    }
}

/// Converts two f32 to a pair for the lanes of `m`.
pub(crate) fn convert_pair(r: &mut Registers, how: ToSmall, d: Slot, high: Slot, low: Slot, m: u32) {
    let (low, high) = (r.word(low), r.word(high));
    let v = if how.to == Small::Bf16 && !how.finite {
        let one = |x: u32| {
            let x = f32::from_bits(x);
            u32::from(float::to_bf16(if how.relu && x < 0.0 { 0.0 } else { x }, how.round))
        };
        zip(low, high, |low, high| one(low) | one(high) << 16)
    } else {
        let width = if matches!(how.to, Small::E4m3 | Small::E5m2) { 8 } else { 16 };
        let one = |x: u32| narrow(f32::from_bits(x).into(), how);
        zip(low, high, |low, high| one(low) | one(high) << width)
    };
    r.set_word(d, &v, m);
}

fn saturate64(x: f64) -> f64 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

#[inline(always)]
fn float32(c: &Convert, x: f32) -> u32 {
    let x = if c.ftz { flush(x) } else { x };
    let x = if c.sat { saturate(x) } else { x };
    if x.is_nan() { NAN } else { x.to_bits() }
}

/// The value of a whole number that lies in the low bits.
fn wide(bits: u64, ty: Type) -> i128 {
    let shift = 64 - ty.bits();
    if ty.signed() { i128::from((bits << shift) as i64 >> shift) } else { i128::from(bits << shift >> shift) }
}

/// The least and the greatest value of a type.
fn limits(ty: Type) -> (i128, i128) {
    if ty.signed() {
        (-(1 << (ty.bits() - 1)), (1 << (ty.bits() - 1)) - 1)
    } else {
        (0, (1i128 << ty.bits()) - 1)
    }
}

/// Extends a value from the destination type to the register.
fn extend(c: &Convert, x: i128) -> u64 {
    let x = wide(x as u64, c.to) as u64;
    if c.register_bits == 64 { x } else { x & ((1 << c.register_bits) - 1) }
}

fn int_to_int(c: &Convert, x: i128) -> u64 {
    let (low, high) = limits(c.to);
    extend(c, if c.sat { x.clamp(low, high) } else { x })
}

/// Converts a float to a whole number. Values out of range are clamped; NaN gives 0, or the top bit alone where a type of
/// 64 bits is involved.
fn to_int(c: &Convert, x: f64, round: Round) -> u64 {
    if x.is_nan() {
        return if c.to.bits() == 64 || c.from == Type::F64 { extend(c, 1 << (c.to.bits() - 1)) } else { 0 };
    }
    let (low, high) = limits(c.to);
    // The cast saturates, so infinities need no case of their own.
    extend(c, (float::whole(x, round) as i128).clamp(low, high))
}
