//! Instructions on whole numbers and bits. Narrow values stay zero-extended in their 32-bit lanes.

use crate::isa::{Atomic, BitCount, Int1, Int2, Op, Shift};
use crate::lanes::{Lanes, lanes, map, zip};
use crate::registers::Registers;
use crate::types::Type;

/// Extends a value from the width of its type, by its sign or by zeros.
#[inline(always)]
fn extend(x: u32, ty: Type) -> u32 {
    match ty {
        Type::S16 => x as i16 as u32,
        ty if ty.bits() == 16 => x & 0xffff,
        _ => x,
    }
}

/// Operates on words of 16 or 32 bits.
pub(crate) fn binary(f: Int2, ty: Type, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u32> {
    if ty.bits() == 32 {
        return binary32(f, ty.signed(), a, b);
    }
    let (a, b) = (map(a, |x| extend(x, ty)), map(b, |x| extend(x, ty)));
    let wide = if f == Int2::MulHi {
        zip(&a, &b, |a, b| (a as i32).wrapping_mul(b as i32) as u32 >> 16)
    } else {
        binary32(f, ty.signed(), &a, &b)
    };
    map(&wide, |x| x & 0xffff)
}

#[inline(always)]
fn binary32(f: Int2, signed: bool, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u32> {
    let s = |x: u32| x as i32;
    match (f, signed) {
        (Int2::Add, _) => zip(a, b, u32::wrapping_add),
        (Int2::Sub, _) => zip(a, b, u32::wrapping_sub),
        (Int2::Mul, _) => zip(a, b, u32::wrapping_mul),
        (Int2::And, _) => zip(a, b, |a, b| a & b),
        (Int2::Or, _) => zip(a, b, |a, b| a | b),
        (Int2::Xor, _) => zip(a, b, |a, b| a ^ b),
        (Int2::MulHi, false) => zip(a, b, |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        (Int2::MulHi, true) => zip(a, b, |a, b| ((i64::from(s(a)) * i64::from(s(b))) >> 32) as u32),
        (Int2::Min, false) => zip(a, b, u32::min),
        (Int2::Min, true) => zip(a, b, |a, b| s(a).min(s(b)) as u32),
        (Int2::Max, false) => zip(a, b, u32::max),
        (Int2::Max, true) => zip(a, b, |a, b| s(a).max(s(b)) as u32),
        // A division by zero gives what the hardware gives: a quotient of all ones and the dividend as remainder.
        (Int2::Div, false) => zip(a, b, |a, b| a.checked_div(b).unwrap_or(u32::MAX)),
        (Int2::Div, true) => zip(a, b, |a, b| if b == 0 { u32::MAX } else { s(a).wrapping_div(s(b)) as u32 }),
        (Int2::Rem, false) => zip(a, b, |a, b| a.checked_rem(b).unwrap_or(a)),
        (Int2::Rem, true) => zip(a, b, |a, b| if b == 0 { a } else { s(a).wrapping_rem(s(b)) as u32 }),
    }
}

/// Operates on 64 bits.
pub(crate) fn binary64(f: Int2, signed: bool, a: &Lanes<u64>, b: &Lanes<u64>) -> Lanes<u64> {
    let s = |x: u64| x as i64;
    match (f, signed) {
        (Int2::Add, _) => zip(a, b, u64::wrapping_add),
        (Int2::Sub, _) => zip(a, b, u64::wrapping_sub),
        (Int2::Mul, _) => zip(a, b, u64::wrapping_mul),
        (Int2::And, _) => zip(a, b, |a, b| a & b),
        (Int2::Or, _) => zip(a, b, |a, b| a | b),
        (Int2::Xor, _) => zip(a, b, |a, b| a ^ b),
        (Int2::MulHi, false) => zip(a, b, |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        (Int2::MulHi, true) => zip(a, b, |a, b| ((i128::from(s(a)) * i128::from(s(b))) >> 64) as u64),
        (Int2::Min, false) => zip(a, b, u64::min),
        (Int2::Min, true) => zip(a, b, |a, b| s(a).min(s(b)) as u64),
        (Int2::Max, false) => zip(a, b, u64::max),
        (Int2::Max, true) => zip(a, b, |a, b| s(a).max(s(b)) as u64),
        (Int2::Div, false) => zip(a, b, |a, b| a.checked_div(b).unwrap_or(u64::MAX)),
        (Int2::Div, true) => zip(a, b, |a, b| if b == 0 { u64::MAX } else { s(a).wrapping_div(s(b)) as u64 }),
        (Int2::Rem, false) => zip(a, b, |a, b| a.checked_rem(b).unwrap_or(a)),
        (Int2::Rem, true) => zip(a, b, |a, b| if b == 0 { a } else { s(a).wrapping_rem(s(b)) as u64 }),
    }
}

/// Multiplies words to 64 bits.
#[inline(always)]
pub(crate) fn mul_wide(signed: bool, a: &Lanes<u32>, b: &Lanes<u32>) -> Lanes<u64> {
    if signed {
        zip(a, b, |a, b| (i64::from(a as i32) * i64::from(b as i32)) as u64)
    } else {
        zip(a, b, |a, b| u64::from(a) * u64::from(b))
    }
}

/// Executes the whole-number instructions that [`crate::alu`] does not execute itself. Returns false if `op` is none of
/// them.
pub(crate) fn execute(r: &mut Registers, op: &Op, m: u32) -> bool {
    match *op {
        Op::Unary { f, ty, d, a } if ty.bits() == 64 => {
            let v = map(r.double(a), |a| unary64(f, a));
            r.set_double(d, &v, m);
        }
        Op::Unary { f, ty, d, a } => {
            let v = map(r.word(a), |a| unary(f, ty, a));
            r.set_word(d, &v, m);
        }
        Op::Count { f, ty, d, a } => {
            let v = if ty.bits() == 64 {
                map(r.double(a), |a| count64(f, ty.signed(), a))
            } else {
                map(r.word(a), |a| count(f, ty.signed(), a))
            };
            r.set_word(d, &v, m);
        }
        Op::Shift { f, ty, d, a, b } if ty.bits() == 64 => {
            let v = zip(r.double(a), r.word(b), |a, b| shift64(f, a, b));
            r.set_double(d, &v, m);
        }
        Op::Shift { f, ty, d, a, b } => {
            let narrow = ty.bits() == 16;
            let v = zip(r.word(a), r.word(b), |a, b| {
                let x = shift(f, extend(a, ty), b);
                if narrow { x & 0xffff } else { x }
            });
            r.set_word(d, &v, m);
        }
        // The product of 16-bit values fits the 32-bit file. The wide forms of 32 bits are in `alu`.
        Op::MulWide { ty, d, a, b } => {
            let v = zip(r.word(a), r.word(b), |a, b| extend(a, ty).wrapping_mul(extend(b, ty)));
            r.set_word(d, &v, m);
        }
        Op::MadWide { ty, d, a, b, c } => {
            let p = zip(r.word(a), r.word(b), |a, b| extend(a, ty).wrapping_mul(extend(b, ty)));
            let v = zip(&p, r.word(c), u32::wrapping_add);
            r.set_word(d, &v, m);
        }
        Op::Mad { high, ty, d, a, b, c } => {
            let f = if high { Int2::MulHi } else { Int2::Mul };
            if ty.bits() == 64 {
                let p = binary64(f, ty.signed(), r.double(a), r.double(b));
                let v = zip(&p, r.double(c), u64::wrapping_add);
                r.set_double(d, &v, m);
            } else {
                let p = binary(f, ty, r.word(a), r.word(b));
                let v = binary(Int2::Add, ty, &p, r.word(c));
                r.set_word(d, &v, m);
            }
        }
        Op::Sad { ty, d, a, b, c } => {
            if ty.bits() == 64 {
                let s = zip(r.double(a), r.double(b), |a, b| {
                    if ty.signed() { (a as i64).abs_diff(b as i64) } else { a.abs_diff(b) }
                });
                let v = zip(&s, r.double(c), u64::wrapping_add);
                r.set_double(d, &v, m);
            } else {
                let s = zip(r.word(a), r.word(b), |a, b| {
                    let (a, b) = (extend(a, ty), extend(b, ty));
                    if ty.signed() { (a as i32).abs_diff(b as i32) } else { a.abs_diff(b) }
                });
                let v = binary(Int2::Add, ty, &s, r.word(c));
                r.set_word(d, &v, m);
            }
        }
        Op::Bfe { ty, d, a, b, c } if ty.bits() == 64 => {
            let (a, b, c) = (r.double(a), r.word(b), r.word(c));
            let v = lanes(|l| bfe(a[l], 64, ty.signed(), b[l], c[l]));
            r.set_double(d, &v, m);
        }
        Op::Bfe { ty, d, a, b, c } => {
            let (a, b, c) = (r.word(a), r.word(b), r.word(c));
            let v = lanes(|l| bfe(u64::from(a[l]), 32, ty.signed(), b[l], c[l]) as u32);
            r.set_word(d, &v, m);
        }
        Op::Bfi { ty, d, a, b, c, e } if ty.bits() == 64 => {
            let (a, b, c, e) = (r.double(a), r.double(b), r.word(c), r.word(e));
            let v = lanes(|l| bfi(a[l], b[l], 64, c[l], e[l]));
            r.set_double(d, &v, m);
        }
        Op::Bfi { d, a, b, c, e, .. } => {
            let (a, b, c, e) = (r.word(a), r.word(b), r.word(c), r.word(e));
            let v = lanes(|l| bfi(u64::from(a[l]), u64::from(b[l]), 32, c[l], e[l]) as u32);
            r.set_word(d, &v, m);
        }
        Op::Prmt { d, a, b, c } => three(r, d, a, b, c, m, prmt),
        Op::Lop3 { table, d, a, b, c } => three(r, d, a, b, c, m, |a, b, c| lop3(table, a, b, c)),
        Op::Funnel { left, wrap, d, a, b, c } => {
            three(r, d, a, b, c, m, |a, b, c| funnel(left, wrap, a, b, c));
        }
        Op::Dp4a { a_signed, b_signed, d, a, b, c } => three(r, d, a, b, c, m, |a, b, c| {
            let byte = |x: u32, k: u32, signed: bool| {
                let x = (x >> (8 * k)) as u8;
                if signed { i32::from(x as i8) } else { i32::from(x) }
            };
            (0..4).fold(c, |sum, k| sum.wrapping_add((byte(a, k, a_signed) * byte(b, k, b_signed)) as u32))
        }),
        _ => return false,
    }
    true
}

/// The new value of an atomic on a whole number of 32 bits, which is also one step of `redux`.
pub(crate) fn combine32(f: Atomic, signed: bool, old: u32, x: u32) -> u32 {
    match f {
        Atomic::Add => old.wrapping_add(x),
        Atomic::Min if signed => (old as i32).min(x as i32) as u32,
        Atomic::Max if signed => (old as i32).max(x as i32) as u32,
        Atomic::Min => old.min(x),
        Atomic::Max => old.max(x),
        Atomic::And => old & x,
        Atomic::Or => old | x,
        Atomic::Xor => old ^ x,
        Atomic::Exch => x,
        Atomic::Inc => {
            if old >= x {
                0
            } else {
                old + 1
            }
        }
        Atomic::Dec => {
            if old == 0 || old > x {
                x
            } else {
                old - 1
            }
        }
        Atomic::Cas => unreachable!("needs the compared value"),
    }
}

/// Applies `f` to three words.
fn three(r: &mut Registers, d: u32, a: u32, b: u32, c: u32, m: u32, f: impl Fn(u32, u32, u32) -> u32) {
    let (a, b, c) = (r.word(a), r.word(b), r.word(c));
    let v = lanes(|l| f(a[l], b[l], c[l]));
    r.set_word(d, &v, m);
}

fn unary(f: Int1, ty: Type, a: u32) -> u32 {
    let a = extend(a, ty);
    let v = match f {
        Int1::Not => !a,
        Int1::CNot => u32::from(a == 0),
        Int1::Neg => a.wrapping_neg(),
        Int1::Abs => (a as i32).wrapping_abs() as u32,
        Int1::Brev => a.reverse_bits(),
    };
    if ty.bits() == 16 { v & 0xffff } else { v }
}

fn unary64(f: Int1, a: u64) -> u64 {
    match f {
        Int1::Not => !a,
        Int1::CNot => u64::from(a == 0),
        Int1::Neg => a.wrapping_neg(),
        Int1::Abs => (a as i64).wrapping_abs() as u64,
        Int1::Brev => a.reverse_bits(),
    }
}

fn count(f: BitCount, signed: bool, a: u32) -> u32 {
    match f {
        BitCount::Popc => a.count_ones(),
        BitCount::Clz => a.leading_zeros(),
        BitCount::Bfind { shift } => {
            let a = if signed && (a as i32) < 0 { !a } else { a };
            find(a.leading_zeros(), 32, shift)
        }
    }
}

fn count64(f: BitCount, signed: bool, a: u64) -> u32 {
    match f {
        BitCount::Popc => a.count_ones(),
        BitCount::Clz => a.leading_zeros(),
        BitCount::Bfind { shift } => {
            let a = if signed && (a as i64) < 0 { !a } else { a };
            find(a.leading_zeros(), 64, shift)
        }
    }
}

/// The result of `bfind` from the number of zeros above the highest bit that is set.
fn find(zeros: u32, width: u32, shift: bool) -> u32 {
    match (zeros == width, shift) {
        (true, _) => u32::MAX,
        (false, true) => zeros,
        (false, false) => width - 1 - zeros,
    }
}

/// Shifts. An amount beyond the width acts as the width: the result is zeros, or copies of the sign.
#[inline(always)]
fn shift(f: Shift, a: u32, b: u32) -> u32 {
    match f {
        Shift::Left => a.checked_shl(b).unwrap_or(0),
        Shift::Right => a.checked_shr(b).unwrap_or(0),
        Shift::RightSigned => ((a as i32) >> b.min(31)) as u32,
    }
}

#[inline(always)]
fn shift64(f: Shift, a: u64, b: u32) -> u64 {
    match f {
        Shift::Left => a.checked_shl(b).unwrap_or(0),
        Shift::Right => a.checked_shr(b).unwrap_or(0),
        Shift::RightSigned => ((a as i64) >> b.min(63)) as u64,
    }
}

/// Takes the field of `len` bits at `pos`, both modulo 256. Bits beyond the top are the sign bit of the field, or zero.
fn bfe(a: u64, width: u32, signed: bool, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if len == 0 {
        return 0;
    }
    let sign = signed && a >> (pos + len - 1).min(width - 1) & 1 == 1;
    let field = a.checked_shr(pos).unwrap_or(0);
    let kept = len.min(width.saturating_sub(pos));
    let mask = if kept >= 64 { u64::MAX } else { (1 << kept) - 1 };
    field & mask | if sign { !mask } else { 0 }
}

/// Puts the low `len` bits of `a` into `b` at `pos`.
fn bfi(a: u64, b: u64, width: u32, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if pos >= width {
        return b;
    }
    let ones = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    let mask = ones << pos;
    b & !mask | a << pos & mask
}

/// Picks four bytes from the pair `b a`; the top bit of a selector copies the byte's sign instead.
fn prmt(a: u32, b: u32, c: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    u32::from_le_bytes(std::array::from_fn(|k| {
        let selector = c >> (4 * k) & 0xf;
        let byte = bytes[selector as usize & 7];
        if selector & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
    }))
}

/// Any logic of three words, by its table of eight results.
fn lop3(table: u8, a: u32, b: u32, c: u32) -> u32 {
    (0..8).filter(|k| table >> k & 1 == 1).fold(0, |out, k| {
        let pick = |x: u32, bit: u32| if k >> bit & 1 == 1 { x } else { !x };
        out | pick(a, 2) & pick(b, 1) & pick(c, 0)
    })
}

/// Shifts the pair `b a` and gives its upper (left) or lower (right) word (`shf`).
fn funnel(left: bool, wrap: bool, a: u32, b: u32, c: u32) -> u32 {
    let n = if wrap { c & 31 } else { c.min(32) };
    let pair = u64::from(b) << 32 | u64::from(a);
    if left { (pair << n >> 32) as u32 } else { (pair >> n) as u32 }
}
