//! Arithmetic on f32: every rounding mode, NaN, infinities, signed zeros, subnormals, `.ftz`, `.sat`.

use super::exact::{self, MODES, Mode};
use super::program::{Expect, Program, Type::*};
use super::values::{floats, pairs, singles, triples};

const ONE: u64 = 0x3F80_0000;
const SIGN: u64 = 0x8000_0000;

pub fn programs() -> Vec<Program> {
    let of_several = [arithmetic(), flushing(), saturating(), extremes()].concat();
    let mut programs: Vec<Program> = of_several.into_iter().flat_map(Program::with_numbers).collect();
    programs.extend([division(), signs()].concat());
    programs
}

type Binary = fn(u64, u64, Mode) -> Option<u64>;

fn subtract(a: u64, b: u64, mode: Mode) -> Option<u64> {
    exact::add(a, b ^ SIGN, mode)
}

/// `add`, `sub`, `mul` and `fma`; without a modifier they round to nearest.
fn arithmetic() -> Vec<Program> {
    let mut programs = vec![];
    let modes = [("", Mode::Rn)].into_iter().chain(MODES);
    for (name, mode) in modes {
        let dot = if name.is_empty() { "" } else { "." };
        for (op, want) in [("add", exact::add as Binary), ("sub", subtract), ("mul", exact::mul)] {
            let program = Program::new(format!("{op}{dot}{name}.f32 %d0, %a0, %a1;"), &[F32, F32], &[F32]);
            programs.push(program.rows(pairs(&floats(80)), |row| vec![want(row[0], row[1], mode).into()]));
        }
        if !name.is_empty() {
            let program = Program::new(format!("fma.{name}.f32 %d0, %a0, %a1, %a2;"), &[F32; 3], &[F32]);
            let want = |row: &[u64]| vec![exact::fma(row[0], row[1], row[2], mode).into()];
            programs.push(program.rows(triples(&floats(300), 20), want));
        }
    }
    // With one rounding, (1 + 2^-23)^2 - (1 + 2^-22) is 2^-46; with two it would be 0.
    let fused = Program::new("fma.rn.f32 %d0, %a0, %a1, %a2;", &[F32; 3], &[F32]);
    programs.push(fused.row(&[0x3F80_0001, 0x3F80_0001, 0xBF80_0002], 0x2880_0000));
    let numbers = Program::new("fma.rn.f32 %d0, %a0, 0f40000000, 0fBF800000;", &[F32], &[F32]);
    programs.push(numbers.row(&[ONE], ONE).row(&[0x3F00_0000], 0).row(&[0], 0xBF80_0000));
    programs
}

fn division() -> Vec<Program> {
    let mut programs = vec![];
    for (name, mode) in MODES {
        let div = Program::new(format!("div.{name}.f32 %d0, %a0, %a1;"), &[F32, F32], &[F32]);
        programs.extend(
            div.rows(pairs(&floats(80)), |row| vec![exact::div(row[0], row[1], mode).into()]).with_numbers(),
        );
        let rcp = Program::new(format!("rcp.{name}.f32 %d0, %a0;"), &[F32], &[F32]);
        programs.push(rcp.rows(singles(&floats(2000)), |row| vec![exact::div(ONE, row[0], mode).into()]));
        let sqrt = Program::new(format!("sqrt.{name}.f32 %d0, %a0;"), &[F32], &[F32]);
        programs.push(sqrt.rows(singles(&floats(2000)), |row| vec![exact::sqrt(row[0], mode).into()]));
    }
    programs
}

/// With `.ftz`, subnormal inputs and results are zeros of their sign. A product that only rounding lifts to the
/// smallest normal number is left open, because the documents do not say whether it counts as subnormal.
fn flushing() -> Vec<Program> {
    let result = |unflushed: Option<u64>, exact_below: Option<u64>| match (unflushed, exact_below) {
        (Some(a), Some(b)) if exact::flush(a) != exact::flush(b) => Expect::Any,
        (Some(a), _) => Expect::Bits(exact::flush(a)),
        (None, _) => Expect::Nan,
    };
    let mut programs = vec![];
    let sweep = |op: &'static str, want: Binary| {
        [format!("{op}.ftz.f32"), format!("{op}.rn.ftz.f32")].map(|op| {
            Program::new(format!("{op} %d0, %a0, %a1;"), &[F32, F32], &[F32]).rows(
                pairs(&floats(80)),
                |row| {
                    let (a, b) = (exact::flush(row[0]), exact::flush(row[1]));
                    vec![result(want(a, b, Mode::Rn), want(a, b, Mode::Rz))]
                },
            )
        })
    };
    programs.extend(sweep("add", exact::add));
    programs.extend(sweep("sub", subtract));
    programs.extend(sweep("mul", exact::mul));
    let fma = Program::new("fma.rn.ftz.f32 %d0, %a0, %a1, %a2;", &[F32; 3], &[F32]);
    programs.push(fma.rows(triples(&floats(300), 10), |row| {
        let f = |i: usize| exact::flush(row[i]);
        let want = |mode| exact::fma(f(0), f(1), f(2), mode);
        vec![result(want(Mode::Rn), want(Mode::Rz))]
    }));
    programs
}

/// With `.sat`, results are clamped to [0, 1] and NaN becomes +0. The sign of a zero that was negative is left open.
fn saturating() -> Vec<Program> {
    let clamp = |bits: Option<u64>| match bits {
        None => Expect::Bits(0),
        Some(SIGN) => Expect::Any,
        Some(bits) if bits & SIGN != 0 => Expect::Bits(0),
        Some(bits) => Expect::Bits(bits.min(ONE)),
    };
    let mut programs = vec![];
    for (op, want) in [("add", exact::add as Binary), ("sub", subtract), ("mul", exact::mul)] {
        let program = Program::new(format!("{op}.sat.f32 %d0, %a0, %a1;"), &[F32, F32], &[F32]);
        programs.push(program.rows(pairs(&floats(60)), |row| vec![clamp(want(row[0], row[1], Mode::Rn))]));
    }
    let fma = Program::new("fma.rn.sat.f32 %d0, %a0, %a1, %a2;", &[F32; 3], &[F32]);
    let want = |row: &[u64]| vec![clamp(exact::fma(row[0], row[1], row[2], Mode::Rn))];
    programs.push(fma.rows(triples(&floats(100), 5), want));
    programs
}

/// Operations on the sign bit alone.
fn signs() -> Vec<Program> {
    let number = |row: &[u64]| !f32::from_bits(row[0] as u32).is_nan();
    let or_nan = |row: &[u64], bits: u64| vec![if number(row) { Expect::Bits(bits) } else { Expect::Nan }];
    let one = |body: &str| Program::new(body, &[F32], &[F32]);
    vec![
        one("neg.f32 %d0, %a0;").rows(singles(&floats(100)), |row| or_nan(row, row[0] ^ SIGN)),
        one("neg.ftz.f32 %d0, %a0;")
            .rows(singles(&floats(100)), |row| or_nan(row, exact::flush(row[0]) ^ SIGN)),
        one("abs.f32 %d0, %a0;").rows(singles(&floats(100)), |row| or_nan(row, row[0] & !SIGN)),
        one("abs.ftz.f32 %d0, %a0;")
            .rows(singles(&floats(100)), |row| or_nan(row, exact::flush(row[0]) & !SIGN)),
        // The result has the sign of the first operand and the magnitude of the second.
        Program::new("copysign.f32 %d0, %a0, %a1;", &[F32, F32], &[F32])
            .exact(pairs(&floats(40)), |row| row[0] & SIGN | row[1] & !SIGN),
    ]
}

/// The smaller, with -0 below +0; one NaN gives the other operand.
fn smaller(a: u64, b: u64) -> Option<u64> {
    let (x, y) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
    match (x.is_nan(), y.is_nan()) {
        (true, true) => None,
        (true, false) => Some(b),
        (false, true) => Some(a),
        (false, false) if x == y => Some(a | b & SIGN),
        (false, false) => Some(if x < y { a } else { b }),
    }
}

fn larger(a: u64, b: u64) -> Option<u64> {
    let (x, y) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
    match (x.is_nan(), y.is_nan()) {
        (true, true) => None,
        (true, false) => Some(b),
        (false, true) => Some(a),
        (false, false) if x == y => Some(a & b),
        (false, false) => Some(if x > y { a } else { b }),
    }
}

fn extremes() -> Vec<Program> {
    let mut programs = vec![];
    let nan = |a: u64| f32::from_bits(a as u32).is_nan();
    for (op, want) in [("min", smaller as fn(u64, u64) -> Option<u64>), ("max", larger)] {
        let program = |form: String| Program::new(format!("{form}.f32 %d0, %a0, %a1;"), &[F32, F32], &[F32]);
        let plain = |row: &[u64]| vec![want(row[0], row[1]).into()];
        programs.push(program(op.into()).rows(pairs(&floats(60)), plain));
        let flushed = |row: &[u64]| vec![want(exact::flush(row[0]), exact::flush(row[1])).into()];
        programs.push(program(format!("{op}.ftz")).rows(pairs(&floats(60)), flushed));
        // With `.NaN`, one NaN operand is enough for a NaN result.
        programs.push(program(format!("{op}.NaN")).rows(pairs(&floats(60)), |row| {
            let result = if nan(row[0]) || nan(row[1]) { None } else { want(row[0], row[1]) };
            vec![result.into()]
        }));
    }
    programs
}
