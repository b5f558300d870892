//! Video instructions: arithmetic on parts of words, with clamping and a second operation.

use crate::isa::{Compare, Part, Simd, Then, Video, VideoOp};

/// The result of a scalar instruction.
pub(crate) fn scalar(how: Video, a: u32, b: u32, c: u32) -> u32 {
    let (x, y) = (part(a, how.a, how.a_signed), part(b, how.b, how.b_signed));
    if let VideoOp::Mad { po, shift } = how.f {
        let signed = how.a_signed || how.b_signed;
        let c = part(c, Part::Whole, signed);
        let v = (i128::from(x) * i128::from(y) + i128::from(c) + i128::from(po)) >> shift;
        return if how.sat { clamp(v, 32, signed) as u32 } else { v as u32 };
    }
    let v = primary(how.f, x, y);
    let width = match how.then {
        Then::Merge(Part::Half(_)) => 16,
        Then::Merge(Part::Byte(_)) => 8,
        _ => 32,
    };
    let v = if how.sat { clamp(v, width, how.signed) } else { v };
    let third = i128::from(part(c, Part::Whole, how.signed));
    match how.then {
        Then::Nothing | Then::Merge(Part::Whole) => v as u32,
        Then::Add => (v + third) as u32,
        Then::Min => v.min(third) as u32,
        Then::Max => v.max(third) as u32,
        Then::Merge(Part::Half(k)) => merge(c, v as u32, 16 * k, 0xffff),
        Then::Merge(Part::Byte(k)) => merge(c, v as u32, 8 * k, 0xff),
    }
}

/// The result of an instruction on halves or bytes.
pub(crate) fn simd(how: Simd, a: u32, b: u32, c: u32) -> u32 {
    let width = 32 / how.count;
    let ones = if width == 8 { 0xff } else { 0xffff };
    let pick = |from: u8, signed: bool| {
        let from = u32::from(from);
        let word = if from < how.count { a } else { b };
        field(word, width * (from % how.count), width, signed)
    };
    (0..how.count).filter(|k| how.mask >> k & 1 == 1).fold(c, |d, k| {
        let (x, y) = (pick(how.a[k as usize], how.a_signed), pick(how.b[k as usize], how.b_signed));
        let v = primary(how.f, x, y);
        let v = if how.sat { clamp(v, width, how.signed) } else { v };
        if how.add { d.wrapping_add(v as u32) } else { merge(d, v as u32, width * k, ones) }
    })
}

/// The first operation, on values of up to 33 bits.
fn primary(f: VideoOp, x: i64, y: i64) -> i128 {
    let (wide, amount) = (i128::from(x), y as u32);
    match f {
        VideoOp::Add => (x + y).into(),
        VideoOp::Sub => (x - y).into(),
        VideoOp::AbsDiff => x.abs_diff(y).into(),
        // Halves are rounded up, those of negative sums down.
        VideoOp::Average => ((x + y + i64::from(x + y >= 0)) >> 1).into(),
        VideoOp::Min => x.min(y).into(),
        VideoOp::Max => x.max(y).into(),
        VideoOp::Shl { wrap: true } => wide << (amount & 31),
        VideoOp::Shl { wrap: false } => wide << amount.min(32),
        VideoOp::Shr { wrap: true } => wide >> (amount & 31),
        VideoOp::Shr { wrap: false } => wide >> amount.min(32),
        VideoOp::Set(f) => i128::from(holds(f, x, y)),
        VideoOp::Mad { .. } => unreachable!("needs the third operand"),
    }
}

/// Whether a comparison of whole numbers holds.
fn holds(f: Compare, x: i64, y: i64) -> bool {
    match f {
        Compare::Eq => x == y,
        Compare::Ne => x != y,
        Compare::Lt => x < y,
        Compare::Le => x <= y,
        Compare::Gt => x > y,
        _ => x >= y,
    }
}

/// The value of a part of a word.
fn part(x: u32, part: Part, signed: bool) -> i64 {
    match part {
        Part::Whole => field(x, 0, 32, signed),
        Part::Half(k) => field(x, 16 * k, 16, signed),
        Part::Byte(k) => field(x, 8 * k, 8, signed),
    }
}

/// Clamps a value to a type of `bits` bits.
fn clamp(x: i128, bits: u32, signed: bool) -> i128 {
    if signed { x.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { x.clamp(0, (1 << bits) - 1) }
}

/// Puts the low bits of `x` into `c` at `pos`.
fn merge(c: u32, x: u32, pos: u32, ones: u32) -> u32 {
    c & !(ones << pos) | (x & ones) << pos
}

/// The value of `len` bits of a word, from 1 to 32, that begin at `pos`.
pub(crate) fn field(x: u32, pos: u32, len: u32, signed: bool) -> i64 {
    let x = u64::from(x) >> pos << (64 - len);
    if signed { x as i64 >> (64 - len) } else { (x >> (64 - len)) as i64 }
}
