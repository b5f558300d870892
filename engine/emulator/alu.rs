//! Instructions that touch only registers. Each runs over all lanes of a warp in one loop.

use crate::convert::{convert, convert_pair};
use crate::float::{self, NAN, flush, saturate};
use crate::integer as int;
use crate::isa::{Combine, Compare, Comparison, Float1, Float2, FloatClass, Logic, Mode, Op, Round, Slot};
use crate::lanes::{Lanes, lanes, map, zip};
use crate::program::{CONST_BASE, CONST_END, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW};
use crate::registers::Registers;
use crate::types::{Space, Type};
use crate::{approx, carry, double, half_float, words};

/// Executes `op` for the lanes of `m`. Returns false for operations that need more than registers.
#[inline]
pub(crate) fn execute(r: &mut Registers, op: &Op, m: u32) -> bool {
    match *op {
        Op::Move { d, a } => {
            let v = *r.word(a);
            r.set_word(d, &v, m);
        }
        Op::Fma { mode, d, a, b, c } => {
            let v = fma(r.word(a), r.word(b), r.word(c), mode);
            r.set_word(d, &v, m);
        }
        Op::Float { f, mode, d, a, b } => {
            let v = float2(f, mode, r.word(a), r.word(b));
            r.set_word(d, &v, m);
        }
        Op::FloatUnary { f, mode, d, a } => {
            let v = float1(f, mode, r.word(a));
            r.set_word(d, &v, m);
        }
        Op::Int { f, ty, d, a, b } => {
            if ty.bits() == 64 {
                let v = int::binary64(f, ty.signed(), r.double(a), r.double(b));
                r.set_double(d, &v, m);
            } else {
                let v = int::binary(f, ty, r.word(a), r.word(b));
                r.set_word(d, &v, m);
            }
        }
        Op::MadWide { ty, d, a, b, c } if ty.bits() == 32 => {
            let p = int::mul_wide(ty.signed(), r.word(a), r.word(b));
            let v = zip(&p, r.double(c), u64::wrapping_add);
            r.set_double(d, &v, m);
        }
        Op::MulWide { ty, d, a, b } if ty.bits() == 32 => {
            let v = int::mul_wide(ty.signed(), r.word(a), r.word(b));
            r.set_double(d, &v, m);
        }
        Op::SetPred { compare: how, d, q, a, b, combine } => {
            let yes = compare(r, how, a, b);
            let (yes, no) = (combined(r, combine, yes), combined(r, combine, !yes));
            r.set_pred(d, yes, m);
            if let Some(q) = q {
                r.set_pred(q, no, m);
            }
        }
        Op::Set { compare: how, float, d, a, b } => {
            let one = if float { 1f32.to_bits() } else { u32::MAX };
            let yes = compare(r, how, a, b);
            let v = lanes(|l| if yes >> l & 1 == 1 { one } else { 0 });
            r.set_word(d, &v, m);
        }
        Op::Select { d, a, b, p } => {
            let (p, a, b) = (r.pred(p), r.word(a), r.word(b));
            let v = lanes(|l| if p >> l & 1 == 1 { a[l] } else { b[l] });
            r.set_word(d, &v, m);
        }
        Op::Select64 { d, a, b, p } => {
            let (p, a, b) = (r.pred(p), r.double(a), r.double(b));
            let v = lanes(|l| if p >> l & 1 == 1 { a[l] } else { b[l] });
            r.set_double(d, &v, m);
        }
        Op::Convert { convert: how, d, a } => {
            convert(&how, r, d, a, m);
        }
        _ => return rare(r, op, m),
    }
    true
}

/// Executes the less frequent operations, which are kept out of the hot function.
fn rare(r: &mut Registers, op: &Op, m: u32) -> bool {
    match *op {
        Op::Nop => {}
        Op::Move64 { d, a } => {
            let v = *r.double(a);
            r.set_double(d, &v, m);
        }
        Op::MovePred { d, a } => r.set_pred(d, r.pred(a), m),
        Op::NotPred { d, a } => r.set_pred(d, !r.pred(a), m),
        Op::Logic { f, d, a, b } => r.set_pred(d, apply(f, r.pred(a), r.pred(b)), m),
        Op::Pack64 { d, low, high } => {
            let v = zip(r.word(low), r.word(high), |a, b| u64::from(a) | u64::from(b) << 32);
            r.set_double(d, &v, m);
        }
        Op::Unpack64 { low, high, a } => {
            let v = *r.double(a);
            r.set_word(low, &map(&v, |v| v as u32), m);
            r.set_word(high, &map(&v, |v| (v >> 32) as u32), m);
        }
        Op::Pack32 { d, low, high } => {
            let v = zip(r.word(low), r.word(high), |a, b| a & 0xffff | b << 16);
            r.set_word(d, &v, m);
        }
        Op::Unpack32 { low, high, a } => {
            let v = *r.word(a);
            r.set_word(low, &map(&v, |v| v & 0xffff), m);
            r.set_word(high, &map(&v, |v| v >> 16), m);
        }
        Op::IsSpace { space, d, a } => {
            let a = r.double(a);
            let yes = (0..32).fold(0, |p, l| p | u32::from(in_space(space, a[l])) << l);
            r.set_pred(d, yes, m);
        }
        Op::Generic { space, to, d, a } => {
            let base = match space {
                Space::Shared => SHARED_WINDOW,
                Space::Local => LOCAL_WINDOW,
                Space::Param => PARAM_WINDOW,
                _ => 0,
            };
            let v = map(r.double(a), |a| if to { a.wrapping_sub(base) } else { a.wrapping_add(base) });
            r.set_double(d, &v, m);
        }
        Op::Float64 { f, d, a, b } => {
            let v = zip(r.double(a), r.double(b), |a, b| {
                double2(f, f64::from_bits(a), f64::from_bits(b)).to_bits()
            });
            r.set_double(d, &v, m);
        }
        Op::Unary64 { f, d, a } | Op::Approx64 { f, d, a } => {
            let exact = matches!(op, Op::Unary64 { .. });
            let v = map(r.double(a), |a| double1(f, exact, f64::from_bits(a)).to_bits());
            r.set_double(d, &v, m);
        }
        Op::Fma64 { d, a, b, c } => {
            let (a, b, c) = (r.double(a), r.double(b), r.double(c));
            let f = f64::from_bits;
            let v = lanes(|l| f(a[l]).mul_add(f(b[l]), f(c[l])).to_bits());
            r.set_double(d, &v, m);
        }
        Op::Half { f, mode, d, a, b, c } => half_float::execute(r, f, mode, [d, a, b, c], m),
        Op::Directed64 { f, round, d, a, b, c } => double::execute(r, f, round, [d, a, b, c], m),
        Op::Words { f, d, a, b, c } => words::execute(r, f, [d, a, b, c], m),
        Op::ConvertPair { how, d, high, low } => convert_pair(r, how, d, high, low, m),
        Op::TestFloat { f, double, d, a } => test_float(r, f, double, d, a, m),
        Op::SetAny { compare, ones, d, a, b, combine } => {
            set_any(r, compare, ones, [d, a, b], combine, m);
        }
        Op::SetPredPair { compare, d, q, a, b, combine } => {
            let (low, high) = (compare_halves(r, compare, a, b, 0), compare_halves(r, compare, a, b, 16));
            let (low, high) = (combined(r, combine, low), combined(r, combine, high));
            r.set_pred(d, low, m);
            r.set_pred(q, high, m);
        }
        Op::Carry { .. } | Op::MadCarry { .. } => return carry::execute(r, op, m),
        _ => return int::execute(r, op, m),
    }
    true
}

/// Whether a generic address lies in a space.
fn in_space(space: Space, a: u64) -> bool {
    let shared = (SHARED_WINDOW..SHARED_WINDOW + WINDOW).contains(&a);
    let local = (LOCAL_WINDOW..LOCAL_WINDOW + WINDOW).contains(&a);
    let constant = (CONST_BASE..CONST_END).contains(&a);
    let param = (PARAM_WINDOW..PARAM_WINDOW + WINDOW).contains(&a);
    match space {
        Space::Shared => shared,
        Space::Local => local,
        Space::Const => constant,
        Space::Param => param,
        // The window of parameters is a part of global memory.
        _ => !shared && !local && !constant,
    }
}

/// The result of a comparison, joined with a predicate where there is one.
#[inline(always)]
fn combined(r: &Registers, combine: Option<Combine>, x: u32) -> u32 {
    match combine {
        None => x,
        Some(Combine { logic, p, negated }) => apply(logic, x, if negated { !r.pred(p) } else { r.pred(p) }),
    }
}

#[inline(always)]
fn apply(f: Logic, a: u32, b: u32) -> u32 {
    match f {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}

/// The bits of a result; every NaN becomes the one of PTX.
#[inline(always)]
fn out(x: f32) -> u32 {
    if x.is_nan() { NAN } else { x.to_bits() }
}

/// Applies `f` to two f32 with the modifiers around it, which are chosen outside the loop.
#[inline(always)]
fn with_mode2(mode: Mode, a: &Lanes<u32>, b: &Lanes<u32>, f: impl Fn(f32, f32) -> f32) -> Lanes<u32> {
    let f32 = f32::from_bits;
    match (mode.ftz, mode.sat) {
        (false, false) => zip(a, b, |a, b| out(f(f32(a), f32(b)))),
        (true, false) => zip(a, b, |a, b| out(flush(f(flush(f32(a)), flush(f32(b)))))),
        (false, true) => zip(a, b, |a, b| out(saturate(f(f32(a), f32(b))))),
        (true, true) => zip(a, b, |a, b| out(saturate(flush(f(flush(f32(a)), flush(f32(b))))))),
    }
}

fn float2(f: Float2, mode: Mode, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u32> {
    let round = mode.round;
    let near = round == Round::Nearest;
    match f {
        Float2::Add if near => with_mode2(mode, a, b, |a, b| a + b),
        Float2::Sub if near => with_mode2(mode, a, b, |a, b| a - b),
        Float2::Mul if near => with_mode2(mode, a, b, |a, b| a * b),
        Float2::Div if near => with_mode2(mode, a, b, |a, b| a / b),
        Float2::Add => with_mode2(mode, a, b, |a, b| float::add(a, b, round)),
        Float2::Sub => with_mode2(mode, a, b, |a, b| float::add(a, -b, round)),
        Float2::Mul => with_mode2(mode, a, b, |a, b| float::mul(a, b, round)),
        Float2::Div => with_mode2(mode, a, b, |a, b| float::div(a, b, round)),
        Float2::Min { nan } => with_mode2(mode, a, b, |a, b| float::min(a, b, nan)),
        Float2::Max { nan } => with_mode2(mode, a, b, |a, b| float::max(a, b, nan)),
        Float2::CopySign => zip(a, b, |a, b| b & 0x7fff_ffff | a & 0x8000_0000),
    }
}

fn fma(a: &Lanes<u32>, b: &Lanes<u32>, c: &Lanes<u32>, mode: Mode) -> Lanes<u32> {
    if mode == Mode::PLAIN {
        let f = f32::from_bits;
        return lanes(|l| out(float::fma(f(a[l]), f(b[l]), f(c[l]), Round::Nearest)));
    }
    let ftz = |x: u32| {
        let x = f32::from_bits(x);
        if mode.ftz { flush(x) } else { x }
    };
    lanes(|l| {
        let x = float::fma(ftz(a[l]), ftz(b[l]), ftz(c[l]), mode.round);
        let x = if mode.ftz { flush(x) } else { x };
        out(if mode.sat { saturate(x) } else { x })
    })
}

fn float1(f: Float1, mode: Mode, a: &Lanes<u32>) -> Lanes<u32> {
    let round = mode.round;
    let ftz = mode.ftz;
    let math = |g: &dyn Fn(f32) -> f32| {
        approx::each(a, |x| {
            let x = g(if ftz { flush(x) } else { x });
            f32::from_bits(out(if ftz { flush(x) } else { x }))
        })
    };
    match f {
        Float1::Neg if !ftz => map(a, |a| a ^ 0x8000_0000),
        Float1::Abs if !ftz => map(a, |a| a & 0x7fff_ffff),
        Float1::Neg => math(&|x| -x),
        Float1::Abs => math(&f32::abs),
        // This is inlined because it is the most frequent special function by far.
        Float1::Ex2 if ftz => approx::each(a, |x| f32::from_bits(out(flush(approx::ex2(flush(x)))))),
        Float1::Ex2 => approx::each(a, |x| f32::from_bits(out(approx::ex2(x)))),
        Float1::Sqrt => math(&|x| float::sqrt(x, round)),
        Float1::Rcp => math(&|x| float::div(1.0, x, round)),
        Float1::Rsqrt => math(&approx::rsqrt),
        Float1::Lg2 => math(&approx::lg2),
        Float1::Sin => math(&approx::sin),
        Float1::Cos => math(&approx::cos),
        Float1::Tanh => math(&approx::tanh),
    }
}

fn double2(f: Float2, a: f64, b: f64) -> f64 {
    let number = |x: f64, y: f64, first: bool| {
        if x.is_nan() {
            y
        } else if y.is_nan() || first {
            x
        } else {
            y
        }
    };
    match f {
        Float2::Add => a + b,
        Float2::Sub => a - b,
        Float2::Mul => a * b,
        Float2::Div => a / b,
        Float2::Min { .. } => number(a, b, a < b || a == b && a.is_sign_negative()),
        Float2::Max { .. } => number(a, b, a > b || a == b && !a.is_sign_negative()),
        Float2::CopySign => b.copysign(a),
    }
}

fn double1(f: Float1, exact: bool, a: f64) -> f64 {
    // The coarse functions exist with `.ftz` only.
    let a = if exact { a } else { approx::flush64(a) };
    let v = match f {
        Float1::Neg => -a,
        Float1::Abs => a.abs(),
        Float1::Sqrt => a.sqrt(),
        Float1::Rcp => 1.0 / a,
        _ => approx::rsqrt64(a),
    };
    if exact { v } else { approx::coarse64(v) }
}

/// The lanes for which the comparison holds.
#[inline(always)]
fn compare(r: &Registers, Comparison { f, ty, ftz }: Comparison, a: Slot, b: Slot) -> u32 {
    match ty {
        Type::F32 if ftz => {
            let of = |x: u32| flush(f32::from_bits(x));
            partial(f, &map(r.word(a), of), &map(r.word(b), of))
        }
        Type::F32 => partial(f, &map(r.word(a), f32::from_bits), &map(r.word(b), f32::from_bits)),
        Type::F64 => partial(f, &map(r.double(a), f64::from_bits), &map(r.double(b), f64::from_bits)),
        Type::S64 => total(f, &map(r.double(a), |a| a as i64), &map(r.double(b), |b| b as i64)),
        ty if ty.bits() == 64 => total(f, r.double(a), r.double(b)),
        Type::F16 | Type::Bf16 => compare_halves(r, Comparison { f, ty, ftz }, a, b, 0),
        Type::S32 => total(f, &map(r.word(a), |a| a as i32), &map(r.word(b), |b| b as i32)),
        Type::S16 => total(f, &map(r.word(a), |a| a as i16), &map(r.word(b), |b| b as i16)),
        _ => total(f, r.word(a), r.word(b)),
    }
}

/// The value of a float of 16 bits, which may be half of a pair.
fn half_value(ty: Type, ftz: bool, x: u16) -> f32 {
    match ty {
        Type::Bf16 | Type::Bf16x2 => float::from_bf16(x),
        _ if ftz && x & 0x7c00 == 0 => float::from_f16(x & 0x8000),
        _ => float::from_f16(x),
    }
}

/// Compares floats of 16 bits. It is kept out of the loop over instructions, which it would slow.
#[cold]
#[inline(never)]
fn compare_halves(r: &Registers, Comparison { f, ty, ftz }: Comparison, a: Slot, b: Slot, shift: u32) -> u32 {
    let of = |x: u32| half_value(ty, ftz, (x >> shift) as u16);
    partial(f, &map(r.word(a), of), &map(r.word(b), of))
}

/// `set` with results of 16 bits, on pairs or with a predicate.
#[cold]
#[inline(never)]
fn set_any(
    r: &mut Registers,
    how: Comparison,
    ones: u32,
    [d, a, b]: [Slot; 3],
    combine: Option<Combine>,
    m: u32,
) {
    let v = if matches!(how.ty, Type::F16x2 | Type::Bf16x2) {
        let (low, high) = (compare_halves(r, how, a, b, 0), compare_halves(r, how, a, b, 16));
        let (low, high) = (combined(r, combine, low), combined(r, combine, high));
        lanes(|l| ((low >> l & 1) * ones) | (((high >> l & 1) * ones) << 16))
    } else {
        let yes = compare(r, how, a, b);
        let yes = combined(r, combine, yes);
        lanes(|l| (yes >> l & 1) * ones)
    };
    r.set_word(d, &v, m);
}

/// `testp`
#[cold]
#[inline(never)]
fn test_float(r: &mut Registers, f: FloatClass, double: bool, d: Slot, a: Slot, m: u32) {
    let yes = if double {
        let x = map(r.double(a), f64::from_bits);
        bits(&x, &x, |x, _| double::is(f, x, x.is_subnormal()))
    } else {
        let x = map(r.word(a), f32::from_bits);
        bits(&x, &x, |x, _| double::is(f, x.into(), x.is_subnormal()))
    };
    r.set_pred(d, yes, m);
}

/// One bit per lane: whether `f` holds.
#[inline(always)]
fn bits<T: Copy>(a: &Lanes<T>, b: &Lanes<T>, f: impl Fn(T, T) -> bool) -> u32 {
    let mut out = 0;
    for l in 0..32 {
        out |= u32::from(f(a[l], b[l])) << l;
    }
    out
}

/// Compares values that all have an order.
fn total<T: Copy + Ord>(f: Compare, a: &Lanes<T>, b: &Lanes<T>) -> u32 {
    match f {
        Compare::Eq => bits(a, b, |a, b| a == b),
        Compare::Ne => bits(a, b, |a, b| a != b),
        Compare::Lt => bits(a, b, |a, b| a < b),
        Compare::Le => bits(a, b, |a, b| a <= b),
        Compare::Gt => bits(a, b, |a, b| a > b),
        _ => bits(a, b, |a, b| a >= b),
    }
}

/// Compares floats, where NaN has no order.
fn partial<T: Copy + PartialOrd>(f: Compare, a: &Lanes<T>, b: &Lanes<T>) -> u32 {
    #[expect(clippy::eq_op, reason = "x != x is what NaN means")]
    let nan = |a: T, b: T| a != a || b != b;
    match f {
        Compare::Eq => bits(a, b, |a, b| a == b),
        // The ordered comparison is false where an operand is NaN.
        Compare::Ne => bits(a, b, |a, b| a != b) & !bits(a, b, nan),
        Compare::Lt => bits(a, b, |a, b| a < b),
        Compare::Le => bits(a, b, |a, b| a <= b),
        Compare::Gt => bits(a, b, |a, b| a > b),
        Compare::Ge => bits(a, b, |a, b| a >= b),
        Compare::Equ => bits(a, b, |a, b| a == b) | bits(a, b, nan),
        Compare::Neu => bits(a, b, |a, b| a != b),
        Compare::Ltu => !bits(a, b, |a, b| a >= b),
        Compare::Leu => !bits(a, b, |a, b| a > b),
        Compare::Gtu => !bits(a, b, |a, b| a <= b),
        Compare::Geu => !bits(a, b, |a, b| a < b),
        Compare::Num => !bits(a, b, nan),
        Compare::Nan => bits(a, b, nan),
    }
}
