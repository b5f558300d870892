//! Arithmetic on f16 and bf16, on one value or on a pair in a word. Each result is rounded once, from the exact one.

use crate::approx;
use crate::float::{self, fused};
use crate::isa::{Extreme, Half, HalfMode, Slot, Small};
use crate::lanes::lanes;
use crate::registers::Registers;
use crate::small::{narrow, nearest, widen};

/// The bits of a NaN of 16 bits.
pub(crate) const NAN16: u16 = 0x7fff;

/// Executes `f` for the lanes of `m`.
#[inline(never)]
pub(crate) fn execute(r: &mut Registers, f: Half, mode: HalfMode, [d, a, b, c]: [Slot; 4], m: u32) {
    let format = mode.format;
    let value = |x: u16| f64::from(widen(format, u32::from(x)));
    let round = |x: f64| narrow(x, nearest(format)) as u16;
    let at = [d, a, b, c];
    match f {
        Half::Fma { relu } if format == Small::Bf16 => each(r, mode, at, m, |a, b, c| {
            let v = float::fma_bf16(a, b, c);
            // `.relu` turns negative numbers into +0; NaN stays.
            if relu && float::from_bf16(v) < 0.0 { 0 } else { v }
        }),
        Half::Fma { relu } => each(r, mode, at, m, |a, b, c| {
            let v = round(fused(value(a), value(b), value(c)));
            if relu && value(v) < 0.0 { 0 } else { v }
        }),
        Half::Add => each(r, mode, at, m, |a, b, _| add(format, a, b)),
        Half::Sub => each(r, mode, at, m, |a, b, _| round(fused(value(b), -1.0, value(a)))),
        // The product of two values has at most 22 bits.
        Half::Mul => each(r, mode, at, m, |a, b, _| round(value(a) * value(b))),
        Half::Extreme(f) => each(r, mode, at, m, |a, b, _| extreme(format, f, a, b)),
        Half::Neg => each(r, mode, at, m, |a, _, _| a ^ 0x8000),
        Half::Abs => each(r, mode, at, m, |a, _, _| a & 0x7fff),
        Half::Ex2 => each(r, mode, at, m, |a, _, _| round(f64::from(approx::ex2(value(a) as f32)))),
        Half::Tanh => each(r, mode, at, m, |a, _, _| round(f64::from(approx::tanh(value(a) as f32)))),
    }
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
    let value = |x: u16| f64::from(widen(format, u32::from(x)));
    narrow(fused(value(a), 1.0, value(b)), nearest(format)) as u16
}

/// The smaller or larger of two values. A number wins over NaN unless the form says otherwise; -0 is below +0.
pub(crate) fn extreme(format: Small, f: Extreme, a: u16, b: u16) -> u16 {
    let clear = if f.magnitude { 0x7fff } else { 0xffff };
    let (x, y) = (widen(format, u32::from(a & clear)), widen(format, u32::from(b & clear)));
    let v = if f.max { float::max(x, y, f.nan) } else { float::min(x, y, f.nan) };
    if v.is_nan() {
        return NAN16;
    }
    let sign = if f.magnitude { (a ^ b) & 0x8000 } else { 0 };
    narrow(f64::from(v), nearest(format)) as u16 | sign
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
