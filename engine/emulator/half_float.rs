//! Arithmetic on f16 and bf16, on one value or on a pair in a word. Each result is rounded once, from the exact one.

use crate::approx;
use crate::float;
use crate::isa::{Extreme, Half, HalfMode, Round, Slot, Small};
use crate::lanes::lanes;
use crate::registers::Registers;
use crate::small::{narrow, nearest, widen};

/// The bits of a NaN of 16 bits.
const NAN16: u16 = 0x7fff;
/// The bits of 1 in f16.
const ONE16: u16 = 0x3c00;

/// Executes `f` for the lanes of `m`.
#[inline(never)]
pub(crate) fn execute(r: &mut Registers, f: Half, mode: HalfMode, [d, a, b, c]: [Slot; 4], m: u32) {
    let at = [d, a, b, c];
    match mode.format {
        Small::F16 => execute_f16(r, f, mode, at, m),
        _ => execute_bf16(r, f, mode, at, m),
    }
}

fn execute_f16(r: &mut Registers, f: Half, mode: HalfMode, at: [Slot; 4], m: u32) {
    let value = float::from_f16;
    let fma = |a: u16, b: u16, c: u16| float::to_f16(float::fused_f16(value(a), value(b), value(c)));
    match f {
        Half::Fma { relu: false } => each(r, mode, at, m, fma),
        Half::Fma { relu: true } => each(r, mode, at, m, |a, b, c| relu(fma(a, b, c), 0x7c00)),
        Half::Add => each(r, mode, at, m, |a, b, _| fma(a, ONE16, b)),
        Half::Sub => each(r, mode, at, m, |a, b, _| fma(b, ONE16 | 0x8000, a)),
        // The product of two values has at most 22 bits, and is no denormal of f32.
        Half::Mul => each(r, mode, at, m, |a, b, _| float::to_f16(value(a) * value(b))),
        Half::Extreme(f) => each(r, mode, at, m, |a, b, _| extreme(Small::F16, f, a, b)),
        Half::Neg => each(r, mode, at, m, |a, _, _| a ^ 0x8000),
        Half::Abs => each(r, mode, at, m, |a, _, _| a & 0x7fff),
        Half::Ex2 => each(r, mode, at, m, |a, _, _| float::to_f16(approx::ex2(value(a)))),
        Half::Tanh => each(r, mode, at, m, |a, _, _| float::to_f16(approx::tanh(value(a)))),
    }
}

fn execute_bf16(r: &mut Registers, f: Half, mode: HalfMode, at: [Slot; 4], m: u32) {
    let value = float::from_bf16;
    let round = |x: f32| float::to_bf16(x, Round::Nearest);
    let fma = float::fma_bf16;
    match f {
        Half::Fma { relu: false } => each(r, mode, at, m, fma),
        Half::Fma { relu: true } => each(r, mode, at, m, |a, b, c| relu(fma(a, b, c), 0x7f80)),
        Half::Add => each(r, mode, at, m, |a, b, _| fma(a, 0x3f80, b)),
        Half::Sub => each(r, mode, at, m, |a, b, _| fma(b, 0xbf80, a)),
        Half::Mul => each(r, mode, at, m, |a, b, _| float::mul_bf16(a, b)),
        Half::Extreme(f) => each(r, mode, at, m, |a, b, _| extreme(Small::Bf16, f, a, b)),
        Half::Neg => each(r, mode, at, m, |a, _, _| a ^ 0x8000),
        Half::Abs => each(r, mode, at, m, |a, _, _| a & 0x7fff),
        Half::Ex2 => each(r, mode, at, m, |a, _, _| round(approx::ex2(value(a)))),
        Half::Tanh => each(r, mode, at, m, |a, _, _| round(approx::tanh(value(a)))),
    }
}

/// Turns negative numbers into +0; -0 and NaN stay. `infinity` tells them from NaN.
#[inline(always)]
fn relu(x: u16, infinity: u16) -> u16 {
    let magnitude = x & 0x7fff;
    if x != magnitude && magnitude != 0 && magnitude <= infinity { 0 } else { x }
}

/// Applies `f` to the values of every lane, with the modifiers around it.
#[inline(always)]
fn each(
    r: &mut Registers,
    mode: HalfMode,
    [d, a, b, c]: [Slot; 4],
    m: u32,
    f: impl Fn(u16, u16, u16) -> u16,
) {
    let plain = !mode.ftz && !mode.sat;
    let one = |a: u32, b: u32, c: u32| {
        let (a, b, c) = (a as u16, b as u16, c as u16);
        u32::from(if plain { f(a, b, c) } else { modified(mode, a, b, c, &f) })
    };
    let (a, b, c) = (r.word(a), r.word(b), r.word(c));
    let v = if mode.pair {
        lanes(|l| one(a[l], b[l], c[l]) | one(a[l] >> 16, b[l] >> 16, c[l] >> 16) << 16)
    } else {
        lanes(|l| one(a[l], b[l], c[l]))
    };
    r.set_word(d, &v, m);
}

/// Applies `f` with denormals flushed before and after it, and the result clamped to [0, 1].
fn modified(mode: HalfMode, a: u16, b: u16, c: u16, f: impl Fn(u16, u16, u16) -> u16) -> u16 {
    let ftz = |x: u16| if mode.ftz { flush(mode.format, x) } else { x };
    let v = ftz(f(ftz(a), ftz(b), ftz(c)));
    if !mode.sat {
        return v;
    }
    let x = widen(mode.format, u32::from(v));
    // Comparisons with NaN are false.
    if x > 0.0 { if x < 1.0 { v } else { narrow(1.0, nearest(mode.format)) as u16 } } else { 0 }
}

/// Turns denormals into zeros of the same sign.
pub(crate) fn flush(format: Small, x: u16) -> u16 {
    let exponent = if format == Small::F16 { 0x7c00 } else { 0x7f80 };
    if x & exponent == 0 { x & 0x8000 } else { x }
}

/// The sum of two values, which the atomics need too.
pub(crate) fn add(format: Small, a: u16, b: u16) -> u16 {
    match format {
        Small::F16 => float::to_f16(float::fused_f16(float::from_f16(a), 1.0, float::from_f16(b))),
        _ => float::fma_bf16(a, 0x3f80, b),
    }
}

/// The smaller or larger of two values. A number wins over NaN unless the form says otherwise; -0 is below +0.
#[inline(always)]
pub(crate) fn extreme(format: Small, f: Extreme, a: u16, b: u16) -> u16 {
    let infinity = if format == Small::F16 { 0x7c00 } else { 0x7f80 };
    let sign = if f.magnitude { (a ^ b) & 0x8000 } else { 0 };
    let clear = if f.magnitude { 0x7fff } else { 0xffff };
    let (a, b) = (a & clear, b & clear);
    let (a_nan, b_nan) = (a & 0x7fff > infinity, b & 0x7fff > infinity);
    // The bits of a number in their order: those of negative numbers count down.
    let order = |x: u16| if x & 0x8000 == 0 { i32::from(x) } else { -1 - i32::from(x & 0x7fff) };
    let first = if f.max { order(a) > order(b) } else { order(a) < order(b) };
    let number = if b_nan || first && !a_nan { a } else { b };
    if a_nan && b_nan || f.nan && (a_nan || b_nan) { NAN16 } else { number | sign }
}

/// `min` and `max` of the magnitudes of f32, with the product of their signs.
pub(crate) fn extreme32(f: Extreme, ftz: bool, a: u32, b: u32) -> u32 {
    let value = |x: u32| {
        let x = f32::from_bits(x & 0x7fff_ffff);
        if ftz { float::flush(x) } else { x }
    };
    let (x, y) = (value(a), value(b));
    let v = if f.max { float::max(x, y, f.nan) } else { float::min(x, y, f.nan) };
    if v.is_nan() { float::NAN } else { v.to_bits() | (a ^ b) & 0x8000_0000 }
}
