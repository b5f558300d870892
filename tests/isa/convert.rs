//! `cvt` in all directions, and `mov` between shapes of the same bits.

use super::exact::{self, BF16, Exact, F16, F32 as SINGLE, F64 as DOUBLE, Format, MODES, Mode, mask};
use super::program::{Expect, Program, Type, Type::*};
use super::values::{floats, integers, pairs, singles};

pub fn programs() -> Vec<Program> {
    [to_integers(), from_integers(), between_integers(), between_floats(), packed(), moves()].concat()
}

const WIDTHS: [(Type, u32); 3] = [(B16, 16), (B32, 32), (B64, 64)];

/// f32 to integers: saturating at both ends, NaN to 0 (16 and 32 bits; 64-bit NaN gives the lowest value on the
/// device and is left open).
fn to_integers() -> Vec<Program> {
    let mut programs = vec![];
    for (ty, bits) in WIDTHS {
        for signed in [true, false] {
            let suffix = format!("{}{bits}", if signed { 's' } else { 'u' });
            for (name, mode) in MODES {
                let ftz = |flushed: bool| {
                    let dot = if flushed { ".ftz" } else { "" };
                    let program =
                        Program::new(format!("cvt.{name}i{dot}.{suffix}.f32 %d0, %a0;"), &[F32], &[ty]);
                    program.rows(singles(&floats(400)), |row| {
                        let value = if flushed { exact::flush(row[0]) } else { row[0] };
                        let nan = f32::from_bits(value as u32).is_nan();
                        let want = exact::to_integer(value, mode, bits, signed);
                        vec![if nan && bits == 64 { Expect::Any } else { Expect::Bits(want) }]
                    })
                };
                programs.extend([ftz(false), ftz(true)]);
            }
        }
    }
    programs
}

fn from_integers() -> Vec<Program> {
    let mut programs = vec![];
    for (ty, bits) in WIDTHS {
        for signed in [true, false] {
            let suffix = format!("{}{bits}", if signed { 's' } else { 'u' });
            let value = |v: u64| match signed {
                true => i128::from((v << (64 - bits)) as i64 >> (64 - bits)),
                false => i128::from(v),
            };
            for (name, mode) in MODES {
                let program = Program::new(format!("cvt.{name}.f32.{suffix} %d0, %a0;"), &[ty], &[F32]);
                let want = |row: &[u64]| Exact::integer(value(row[0])).round(SINGLE, mode);
                programs.push(program.exact(singles(&integers(bits, 200)), want));
            }
        }
    }
    programs
}

/// Widening copies the sign or zeros, narrowing drops the upper bits.
fn between_integers() -> Vec<Program> {
    let mut programs = vec![];
    for (from_type, from) in WIDTHS {
        for (to_type, to) in WIDTHS {
            for (signs, signed) in [("s", true), ("u", false)] {
                for to_sign in ["s", "u"] {
                    let form = format!("cvt.{to_sign}{to}.{signs}{from}");
                    let program = Program::new(format!("{form} %d0, %a0;"), &[from_type], &[to_type]);
                    programs.push(program.exact(singles(&integers(from, 50)), |row| {
                        let wide = if signed {
                            ((row[0] << (64 - from)) as i64 >> (64 - from)) as u64
                        } else {
                            row[0]
                        };
                        wide & mask(to)
                    }));
                }
            }
        }
    }
    programs
}

fn between_floats() -> Vec<Program> {
    let mut programs = vec![];
    // To integral values, in f32.
    for (name, mode) in MODES {
        let program = Program::new(format!("cvt.{name}i.f32.f32 %d0, %a0;"), &[F32], &[F32]);
        programs.push(program.rows(singles(&floats(400)), |row| vec![exact::integral(row[0], mode).into()]));
    }
    // Clamped to [0, 1], NaN to 0; the sign of a zero that was negative is left open.
    for form in ["cvt.sat.f32.f32", "cvt.ftz.sat.f32.f32"] {
        let program = Program::new(format!("{form} %d0, %a0;"), &[F32], &[F32]);
        programs.push(program.rows(singles(&floats(400)), |row| {
            let value = if form.contains("ftz") { exact::flush(row[0]) } else { row[0] };
            let number = f32::from_bits(value as u32);
            let clamped = if number.is_nan() { 0.0 } else { number.clamp(0.0, 1.0) };
            vec![if value == 0x8000_0000 { Expect::Any } else { Expect::Bits(clamped.to_bits().into()) }]
        }));
    }
    for (name, format, modes) in [("bf16", BF16, &MODES[..2]), ("f16", F16, &MODES[..1])] {
        for &(mode_name, mode) in modes {
            let program = Program::new(format!("cvt.{mode_name}.{name}.f32 %d0, %a0;"), &[F32], &[B16]);
            let ties = (0..0x1_0000).step_by(61).map(|v| v << 16 | 0x8000);
            let rows = floats(2000).into_iter().chain(ties).map(|v| vec![v]).collect();
            programs.push(program.exact(rows, |row| narrowed(row[0], format, mode)));
        }
    }
    let all = (0..0x1_0000).step_by(7).map(|v| vec![v]).collect::<Vec<_>>();
    let widen = Program::new("cvt.f32.f16 %d0, %a0;", &[B16], &[F32]);
    programs.push(widen.rows(all, |row| vec![exact::convert(row[0], F16, SINGLE, Mode::Rn).into()]));
    let double = Program::new("cvt.f64.f32 %d0, %a0;", &[F32], &[F64]);
    programs.push(double.rows(singles(&floats(300)), |row| {
        match exact::convert(row[0], SINGLE, DOUBLE, Mode::Rn) {
            Some(bits) => vec![Expect::Bits(bits)],
            None => vec![Expect::Any],
        }
    }));
    // Half way between two floats, and next to it.
    for (name, mode) in MODES {
        let single = Program::new(format!("cvt.{name}.f32.f64 %d0, %a0;"), &[F64], &[F32]);
        let near = |v: u64| {
            let wide = exact::convert(v, SINGLE, DOUBLE, Mode::Rn).unwrap_or(0);
            [wide, wide ^ 0x1000_0000, wide ^ 0x1000_0001, wide ^ 0x3FFF_FFFF]
        };
        let rows = floats(300).into_iter().flat_map(near).map(|v| vec![v]).collect();
        programs.push(single.rows(rows, |row| vec![exact::convert(row[0], DOUBLE, SINGLE, mode).into()]));
    }
    programs
}

/// f32 in a format of 16 bits; both have the canonical NaN 7FFF.
fn narrowed(bits: u64, format: Format, mode: Mode) -> u64 {
    exact::convert(bits, SINGLE, format, mode).unwrap_or(0x7FFF)
}

/// Two floats into one word of bf16: the first operand in the upper half.
fn packed() -> Vec<Program> {
    MODES[..2]
        .iter()
        .map(|&(name, mode)| {
            let program = Program::new(format!("cvt.{name}.bf16x2.f32 %d0, %a0, %a1;"), &[F32, F32], &[B32]);
            program.exact(pairs(&floats(60)), |row| {
                narrowed(row[0], BF16, mode) << 16 | narrowed(row[1], BF16, mode)
            })
        })
        .collect()
}

/// `mov` of registers, immediates, and words taken apart and put together.
fn moves() -> Vec<Program> {
    let one = |body: &str, from: Type, to: Type| Program::new(body, &[from], &[to]);
    let mut programs = vec![];
    for (ty, names) in [
        (B16, &["b16", "u16", "s16"][..]),
        (B32, &["b32", "u32", "s32"]),
        (B64, &["b64", "u64", "s64"]),
        (F32, &["f32"]),
    ] {
        for name in names {
            let bits = match ty {
                B16 => 0x8001,
                B64 => 0x8000_0000_0000_0001,
                _ => 0x7F80_0001,
            };
            programs.push(one(&format!("mov.{name} %d0, %a0;"), ty, ty).row(&[bits], bits));
        }
    }
    programs.push(one("mov.b32 %d0, %a0;", F32, B32).row(&[0x8000_0000], 0x8000_0000));
    programs.push(one("mov.b32 %d0, %a0;", B32, F32).row(&[0x7F80_0001], 0x7F80_0001));
    programs.push(Program::new("mov.u16 %d0, 0x8001;", &[], &[B16]).row(&[], 0x8001));
    programs.push(Program::new("mov.u16 %d0, -1;", &[], &[B16]).row(&[], 0xFFFF));
    programs.push(Program::new("mov.u32 %d0, -2;", &[], &[B32]).row(&[], 0xFFFF_FFFE));
    programs
        .push(Program::new("mov.u64 %d0, 0x123456789abcdef0;", &[], &[B64]).row(&[], 0x1234_5678_9ABC_DEF0));
    programs.push(Program::new("mov.f32 %d0, 0fFF800000;", &[], &[F32]).row(&[], 0xFF80_0000));
    programs.push(
        Program::new("mov.b32 %d0, {%a0, %a1};", &[B16, B16], &[B32]).row(&[0x1234, 0xABCD], 0xABCD_1234),
    );
    programs.push(
        Program::new("mov.b32 {%d0, %d1}, %a0;", &[B32], &[B16, B16])
            .rows(vec![vec![0xABCD_1234]], |_| vec![Expect::Bits(0x1234), Expect::Bits(0xABCD)]),
    );
    programs.push(
        Program::new("mov.b64 %d0, {%a0, %a1};", &[B32, B32], &[B64])
            .row(&[0x1234_5678, 0x9ABC_DEF0], 0x9ABC_DEF0_1234_5678),
    );
    programs.push(
        Program::new("mov.b64 {%d0, %d1}, %a0;", &[B64], &[B32, B32])
            .rows(vec![vec![0x9ABC_DEF0_1234_5678]], |_| {
                vec![Expect::Bits(0x1234_5678), Expect::Bits(0x9ABC_DEF0)]
            }),
    );
    programs
}
