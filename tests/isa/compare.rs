//! `setp` in all flavours, `selp`, and predicates as values.

use std::cmp::Ordering;

use super::exact::{flush, mask};
use super::program::{Program, Type, Type::*};
use super::values::{floats, integers, pairs};

pub fn programs() -> Vec<Program> {
    let with_numbers = [floating(), whole(), selected()].concat().into_iter().flat_map(Program::with_numbers);
    with_numbers.chain(combined()).collect()
}

/// Whether a comparison holds for an ordering, or for none where there is a NaN. Comparisons that end in `u` hold where
/// there is no ordering.
fn holds(comparison: &str, order: Option<Ordering>) -> bool {
    use Ordering::*;
    let Some(order) = order else {
        return matches!(comparison, "equ" | "neu" | "ltu" | "leu" | "gtu" | "geu" | "nan");
    };
    match comparison {
        "eq" | "equ" => order == Equal,
        "ne" | "neu" => order != Equal,
        "lt" | "ltu" | "lo" => order == Less,
        "le" | "leu" | "ls" => order != Greater,
        "gt" | "gtu" | "hi" => order == Greater,
        "ge" | "geu" | "hs" => order != Less,
        "num" => true,
        "nan" => false,
        _ => unreachable!("{comparison}"),
    }
}

fn order(a: u64, b: u64) -> Option<Ordering> {
    f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32))
}

const FLOATING: [&str; 14] =
    ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

fn floating() -> Vec<Program> {
    let mut programs = vec![];
    for name in FLOATING {
        let plain = Program::new(format!("setp.{name}.f32 %d0, %a0, %a1;"), &[F32, F32], &[Pred]);
        programs.push(plain.exact(pairs(&floats(60)), |row| u64::from(holds(name, order(row[0], row[1])))));
        let ftz = Program::new(format!("setp.{name}.ftz.f32 %d0, %a0, %a1;"), &[F32, F32], &[Pred]);
        let want = |row: &[u64]| u64::from(holds(name, order(flush(row[0]), flush(row[1]))));
        programs.push(ftz.exact(pairs(&floats(60)), want));
    }
    programs
}

fn signed(value: u64, bits: u32) -> i64 {
    (value << (64 - bits)) as i64 >> (64 - bits)
}

fn whole() -> Vec<Program> {
    let mut programs = vec![];
    for (ty, bits) in [(B16, 16), (B32, 32), (B64, 64)] {
        let rows = pairs(&integers(bits, 40));
        let mut push = |name: &str, suffix: char, compare: fn(u64, u64, u32) -> Ordering| {
            let program =
                Program::new(format!("setp.{name}.{suffix}{bits} %d0, %a0, %a1;"), &[ty, ty], &[Pred]);
            let want = |row: &[u64]| u64::from(holds(name, Some(compare(row[0], row[1], bits))));
            programs.push(program.exact(rows.clone(), want));
        };
        for name in ["eq", "ne", "lt", "le", "gt", "ge"] {
            push(name, 's', |a, b, bits| signed(a, bits).cmp(&signed(b, bits)));
            push(name, 'u', |a, b, _| a.cmp(&b));
        }
        for name in ["lo", "ls", "hi", "hs"] {
            push(name, 'u', |a, b, _| a.cmp(&b));
        }
        for name in ["eq", "ne"] {
            push(name, 'b', |a, b, _| a.cmp(&b));
        }
    }
    programs
}

/// Comparisons joined with a predicate, comparisons with two results, and logic on predicates.
fn combined() -> Vec<Program> {
    let inputs = [B32, B32, Pred];
    let rows: Vec<Vec<u64>> =
        (0..8).map(|i| vec![if i & 1 == 0 { 5 } else { 0xFFFF_FFFB }, 3, i >> 1 & 1]).collect();
    let greater = |row: &[u64]| signed(row[0], 32) > 3;
    let mut programs = vec![];
    for (name, join) in
        [("and", (|a, b| a & b) as fn(bool, bool) -> bool), ("or", |a, b| a | b), ("xor", |a, b| a ^ b)]
    {
        let program = Program::new(format!("setp.gt.{name}.s32 %d0, %a0, %a1, %a2;"), &inputs, &[Pred]);
        programs.push(program.exact(rows.clone(), |row| u64::from(join(greater(row), row[2] == 1))));
        let pairs: Vec<Vec<u64>> = (0..4).map(|i| vec![i & 1, i >> 1]).collect();
        let logic = Program::new(format!("{name}.pred %d0, %a0, %a1;"), &[Pred, Pred], &[Pred]);
        programs.push(logic.exact(pairs, |row| u64::from(join(row[0] == 1, row[1] == 1))));
    }
    programs.push(Program::new("not.pred %d0, %a0;", &[Pred], &[Pred]).row(&[0], 1).row(&[1], 0));
    programs.push(Program::new("mov.pred %d0, 0;", &[], &[Pred]).row(&[], 0));
    programs.push(Program::new("mov.pred %d0, -1;", &[], &[Pred]).row(&[], 1));
    programs.push(Program::new("mov.pred %d0, %a0;", &[Pred], &[Pred]).row(&[0], 0).row(&[1], 1));
    programs
}

fn selected() -> Vec<Program> {
    let mut programs = vec![];
    for (ty, names) in [
        (B16, &["b16", "u16", "s16"][..]),
        (B32, &["b32", "u32", "s32"]),
        (B64, &["b64", "u64", "s64"]),
        (F32, &["f32"]),
    ] {
        let bits = if ty == F32 { 32 } else { width(ty) };
        for name in names {
            let program = Program::new(format!("selp.{name} %d0, %a0, %a1, %a2;"), &[ty, ty, Pred], &[ty]);
            let value = |v: u64| v & mask(bits);
            let (a, b) = (value(0x7FC0_1234_8000_5678), value(0x0000_0000_3F80_FFFF));
            programs.push(program.row(&[a, b, 1], a).row(&[a, b, 0], b));
            if ty != F32 {
                let numbers = Program::new(format!("selp.{name} %d0, -1, 0, %a0;"), &[Pred], &[ty]);
                programs.push(numbers.row(&[1], mask(bits)).row(&[0], 0));
            }
        }
    }
    programs.push(
        Program::new("selp.f32 %d0, 0f3F800000, 0fBF800000, %a0;", &[Pred], &[F32])
            .row(&[1], 0x3F80_0000)
            .row(&[0], 0xBF80_0000),
    );
    programs
}

fn width(ty: Type) -> u32 {
    match ty {
        B16 => 16,
        B64 => 64,
        _ => 32,
    }
}
