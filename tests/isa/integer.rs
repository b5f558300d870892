//! Integers: wrap, products in full, division by negative numbers, shifts past the width, fields, bytes, logic.

use super::exact::mask;
use super::program::{Program, Type, Type::*};
use super::values::{integers, pairs, singles, triples};

pub fn programs() -> Vec<Program> {
    let of_several = [arithmetic(), products(), shifts(), fields(), logic()].concat();
    let with_numbers = of_several.into_iter().flat_map(Program::with_numbers);
    with_numbers.chain(counts()).chain(carries()).collect()
}

const WIDTHS: [(Type, u32); 3] = [(B16, 16), (B32, 32), (B64, 64)];

/// The value that bits stand for, in 128 bits so that nothing overflows on the way.
fn value(bits: u64, width: u32, is_signed: bool) -> i128 {
    if is_signed { i128::from((bits << (64 - width)) as i64 >> (64 - width)) } else { i128::from(bits) }
}

fn arithmetic() -> Vec<Program> {
    type Exact = fn(i128, i128) -> i128;
    let mut programs = vec![];
    for (ty, width) in WIDTHS {
        for signed in [true, false] {
            let suffix = format!("{}{width}", if signed { 's' } else { 'u' });
            let ops: [(&str, Exact); 6] = [
                ("add", |a, b| a + b),
                ("sub", |a, b| a - b),
                ("min", |a, b| a.min(b)),
                ("max", |a, b| a.max(b)),
                // Division rounds toward zero, and the remainder has the sign of the dividend.
                ("div", |a, b| a / b),
                ("rem", |a, b| a % b),
            ];
            for (op, want) in ops {
                let divides = matches!(op, "div" | "rem");
                // For division by zero and the one quotient that does not fit, the result is not specified.
                let allowed = |row: &Vec<u64>| {
                    let (a, b) = (value(row[0], width, signed), value(row[1], width, signed));
                    !divides || (b != 0 && !(signed && b == -1 && a == -(1 << (width - 1))))
                };
                let rows = pairs(&integers(width, 40)).into_iter().filter(allowed).collect();
                let program = Program::new(format!("{op}.{suffix} %d0, %a0, %a1;"), &[ty, ty], &[ty]);
                programs.push(program.exact(rows, |row| {
                    want(value(row[0], width, signed), value(row[1], width, signed)) as u64 & mask(width)
                }));
            }
        }
        for (op, want) in [("neg", (|a| -a) as fn(i128) -> i128), ("abs", i128::abs)] {
            let program = Program::new(format!("{op}.s{width} %d0, %a0;"), &[ty], &[ty]);
            let rows = singles(&integers(width, 60));
            programs.push(program.exact(rows, |row| want(value(row[0], width, true)) as u64 & mask(width)));
        }
    }
    // Numbers are written as compilers write them, negative or hexadecimal.
    let add = |body: &str| Program::new(body, &[B32], &[B32]);
    programs.push(add("add.s32 %d0, %a0, -1;").row(&[0], 0xFFFF_FFFF).row(&[7], 6));
    programs.push(add("and.b32 %d0, %a0, 0xFF00;").row(&[0x1234_5678], 0x5600));
    programs
}

/// `mul` and `mad`: low half, high half, whole.
fn products() -> Vec<Program> {
    let mut programs = vec![];
    for (ty, width) in WIDTHS {
        for signed in [true, false] {
            let suffix = format!("{}{width}", if signed { 's' } else { 'u' });
            let number = move |bits| value(bits, width, signed);
            for (part, shift) in [("lo", 0), ("hi", width)] {
                let mul = Program::new(format!("mul.{part}.{suffix} %d0, %a0, %a1;"), &[ty, ty], &[ty]);
                let want = |row: &[u64]| {
                    // Unsigned 64-bit factors fill all of 128 bits, so the wrapped product has the right bits.
                    let product = number(row[0]).wrapping_mul(number(row[1])) as u128;
                    (product >> shift) as u64 & mask(width)
                };
                programs.push(mul.exact(pairs(&integers(width, 40)), want));
                let mad = Program::new(format!("mad.{part}.{suffix} %d0, %a0, %a1, %a2;"), &[ty; 3], &[ty]);
                programs.push(mad.exact(triples(&integers(width, 60), 10), |row| {
                    want(row).wrapping_add(row[2]) & mask(width)
                }));
            }
            let Some(wide) = [(16, B32), (32, B64)].into_iter().find(|(w, _)| *w == width).map(|w| w.1)
            else {
                continue;
            };
            let mul = Program::new(format!("mul.wide.{suffix} %d0, %a0, %a1;"), &[ty, ty], &[wide]);
            let want = |row: &[u64]| (number(row[0]) * number(row[1])) as u64 & mask(2 * width);
            programs.push(mul.exact(pairs(&integers(width, 40)), want));
            let mad =
                Program::new(format!("mad.wide.{suffix} %d0, %a0, %a1, %a2;"), &[ty, ty, wide], &[wide]);
            programs.push(mad.exact(triples(&integers(width, 60), 10), |row| {
                want(row).wrapping_add(row[2]) & mask(2 * width)
            }));
        }
    }
    programs
}

/// Shifts by the width or more give zeros, or copies of the sign.
fn shifts() -> Vec<Program> {
    let mut programs = vec![];
    for (ty, width) in WIDTHS {
        let rows: Vec<Vec<u64>> = integers(width, 30)
            .iter()
            .flat_map(|&v| {
                [0, 1, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 0xFFFF_FFFF].map(|by| vec![v, by])
            })
            .collect();
        let mut push = |form: String, signed: bool, left: bool| {
            let program = Program::new(format!("{form} %d0, %a0, %a1;"), &[ty, B32], &[ty]);
            programs.push(program.exact(rows.clone(), |row| {
                let by = row[1].min(64) as u32;
                let wide = value(row[0], width, signed);
                (if left { wide << by } else { wide >> by }) as u64 & mask(width)
            }));
        };
        push(format!("shl.b{width}"), false, true);
        push(format!("shr.b{width}"), false, false);
        push(format!("shr.u{width}"), false, false);
        push(format!("shr.s{width}"), true, false);
    }
    // Funnel shifts take the two words as one and shift by the amount modulo 32, or by at most 32.
    for (mode, amount) in [("wrap", (|by| by & 31) as fn(u64) -> u64), ("clamp", |by| by.min(32))] {
        let rows: Vec<Vec<u64>> = integers(32, 12)
            .iter()
            .flat_map(|&v| [0, 1, 8, 31, 32, 33, 40].map(|by| vec![v, 0x89AB_CDEF, by]))
            .collect();
        let both = |row: &[u64]| row[1] << 32 | row[0];
        let left = Program::new(format!("shf.l.{mode}.b32 %d0, %a0, %a1, %a2;"), &[B32; 3], &[B32]);
        programs.push(
            left.exact(rows.clone(), |row| {
                ((u128::from(both(row)) << amount(row[2])) >> 32) as u64 & mask(32)
            }),
        );
        let right = Program::new(format!("shf.r.{mode}.b32 %d0, %a0, %a1, %a2;"), &[B32; 3], &[B32]);
        programs.push(right.exact(rows, |row| both(row) >> amount(row[2]) & mask(32)));
    }
    programs
}

/// In `bfe` and `bfi`, position and length are bytes, and a field may reach past the end.
fn fields() -> Vec<Program> {
    let mut programs = vec![];
    let places = [(0, 0), (0, 8), (4, 12), (31, 1), (31, 5), (20, 32), (32, 4), (0, 32), (40, 3), (255, 255)];
    let rows = |extra: &[u64]| -> Vec<Vec<u64>> {
        let row = |&(pos, len): &(u64, u64)| {
            integers(32, 20).into_iter().map(move |v| [&[v], extra, &[pos, len]].concat())
        };
        places.iter().flat_map(row).collect()
    };
    // Bits past the end are zeros (u32) or copies of the sign (s32), which is the field's last bit or bit 31.
    let field = |row: &[u64], signed: bool| {
        let (pos, len) = (row[1].min(64) as u32, row[2].min(64) as u32);
        let shifted = (value(row[0], 32, signed) >> pos) as u128;
        let kept = if len == 0 { 0 } else { shifted & (1u128 << len).wrapping_sub(1) };
        match signed && len > 0 && kept >> (len - 1) & 1 == 1 {
            true => (kept | u128::MAX << len) as u64 & mask(32),
            false => kept as u64 & mask(32),
        }
    };
    let u32s = Program::new("bfe.u32 %d0, %a0, %a1, %a2;", &[B32; 3], &[B32]);
    programs.push(u32s.exact(rows(&[]), |row| field(row, false)));
    let s32s = Program::new("bfe.s32 %d0, %a0, %a1, %a2;", &[B32; 3], &[B32]);
    programs.push(s32s.exact(rows(&[]), |row| field(row, true)));
    // The field is the second byte.
    let numbers = Program::new("bfi.b32 %d0, %a0, %a1, 8, 8;", &[B32, B32], &[B32]);
    programs.push(
        numbers.row(&[0xFFFF_FFAB, 0x1234_5678], 0x1234_AB78).row(&[0, u64::from(u32::MAX)], 0xFFFF_00FF),
    );
    let numbers = Program::new("bfe.u32 %d0, %a0, 8, 8;", &[B32], &[B32]);
    programs.push(numbers.row(&[0x1234_5678], 0x56));
    let insert = Program::new("bfi.b32 %d0, %a0, %a1, %a2, %a3;", &[B32; 4], &[B32]);
    programs.push(insert.exact(rows(&[0x1234_5678]), |row| {
        let (pos, len) = (row[2].min(64) as u32, row[3].min(32) as u32);
        let field = (((1u128 << len) - 1) << pos) as u64 & mask(32);
        let value = (u128::from(row[0]) << pos) as u64;
        row[1] & !field | value & field
    }));
    programs
}

fn logic() -> Vec<Program> {
    let mut programs = vec![];
    for (ty, width) in WIDTHS {
        type Bits = fn(u64, u64) -> u64;
        for (op, want) in [("and", (|a, b| a & b) as Bits), ("or", |a, b| a | b), ("xor", |a, b| a ^ b)] {
            let program = Program::new(format!("{op}.b{width} %d0, %a0, %a1;"), &[ty, ty], &[ty]);
            programs.push(program.exact(pairs(&integers(width, 30)), |row| want(row[0], row[1])));
        }
        let not = Program::new(format!("not.b{width} %d0, %a0;"), &[ty], &[ty]);
        programs.push(not.exact(singles(&integers(width, 40)), |row| !row[0] & mask(width)));
    }
    // The table is the function's value for the bits a, b, c read as one number.
    for table in [0x00u64, 0x80, 0xFE, 0x96, 0xCA, 0xE8, 0x3C, 0xFF, 0x1B] {
        let program = Program::new(format!("lop3.b32 %d0, %a0, %a1, %a2, {table:#x};"), &[B32; 3], &[B32]);
        programs.push(program.exact(triples(&integers(32, 40), 5), |row| {
            let bit = |i: u32| {
                let at = (row[0] >> i & 1) << 2 | (row[1] >> i & 1) << 1 | row[2] >> i & 1;
                (table >> at & 1) << i
            };
            (0..32).map(bit).sum()
        }));
    }
    // Bytes 0-3 are those of the first operand and 4-7 those of the second; the top bit of a selector copies the byte's
    // sign.
    let bytes = Program::new("prmt.b32 %d0, %a0, %a1, %a2;", &[B32; 3], &[B32]);
    programs.push(
        bytes
            .row(&[0x8000_00FF, 0x0123_4567, 0x3210], 0x8000_00FF)
            .row(&[0x8000_00FF, 0x0123_4567, 0x7654], 0x0123_4567)
            .row(&[0x1122_3344, 0x5566_7788, 0x5410], 0x7788_3344)
            .row(&[0x1122_3344, 0x5566_7788, 0x7632], 0x5566_1122)
            .row(&[0x1122_3344, 0x5566_7788, 0x0123], 0x4433_2211)
            .row(&[0x8000_00FF, 0x0123_4567, 0x888B], 0xFFFF_FFFF)
            .row(&[0x8000_007F, 0x0123_4567, 0x8F8B], 0x0000_00FF)
            // Only the low 16 bits are used as selectors.
            .row(&[0x1122_3344, 0x5566_7788, 0xFFFF_4444], 0x8888_8888),
    );
    programs.push(
        Program::new("prmt.b32 %d0, %a0, %a1, 0x7632U;", &[B32, B32], &[B32])
            .row(&[0x1122_3344, 0x5566_7788], 0x5566_1122),
    );
    programs
}

fn counts() -> Vec<Program> {
    let mut programs = vec![];
    for (ty, width) in [(B32, 32), (B64, 64)] {
        let rows = singles(&integers(width, 60));
        let one = |op: &str, to: Type| Program::new(format!("{op}.b{width} %d0, %a0;"), &[ty], &[to]);
        programs.push(one("popc", B32).exact(rows.clone(), |row| u64::from(row[0].count_ones())));
        let leading = |v: u64| u64::from(v.leading_zeros()) + u64::from(width) - 64;
        programs.push(one("clz", B32).exact(rows.clone(), |row| leading(row[0])));
        programs.push(one("brev", ty).exact(rows.clone(), |row| row[0].reverse_bits() >> (64 - width)));
        let find = Program::new(format!("bfind.u{width} %d0, %a0;"), &[ty], &[B32]);
        // The place of the highest set bit; all ones if there is none.
        let highest = |v: u64| v.checked_ilog2().map_or(0xFFFF_FFFF, u64::from);
        programs.push(find.exact(rows, |row| highest(row[0])));
    }
    programs
}

/// Sums of two words with the carry between them, as 64-bit sums of 32-bit halves.
fn carries() -> Vec<Program> {
    let rows: Vec<Vec<u64>> = pairs(&integers(64, 30))
        .into_iter()
        .map(|v| vec![v[0] & mask(32), v[0] >> 32, v[1] & mask(32), v[1] >> 32])
        .collect();
    let wide = |row: &[u64]| (row[1] << 32 | row[0], row[3] << 32 | row[2]);
    let halves = |v: u64| vec![v & mask(32), v >> 32];
    let add = Program::new("add.cc.u32 %d0, %a0, %a2;\naddc.u32 %d1, %a1, %a3;", &[B32; 4], &[B32, B32]);
    let sub = Program::new("sub.cc.u32 %d0, %a0, %a2;\nsubc.u32 %d1, %a1, %a3;", &[B32; 4], &[B32, B32]);
    let bits = |v: u64| halves(v).into_iter().map(super::program::Expect::Bits).collect();
    vec![
        add.rows(rows.clone(), |row| bits(wide(row).0.wrapping_add(wide(row).1))),
        sub.rows(rows, |row| bits(wide(row).0.wrapping_sub(wide(row).1))),
    ]
}
