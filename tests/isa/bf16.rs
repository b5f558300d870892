//! Arithmetic on bf16, alone and in pairs.

use super::exact::{BF16, Mode, fma_in};
use super::program::{Program, Type::*};
use super::values::{floats, integers, triples};

/// NaN as bf16 arithmetic writes it.
const NAN: u64 = 0x7FFF;
const SIGN: u64 = 0x8000;

type Function = fn(u64, u64, u64) -> u64;

pub fn programs() -> Vec<Program> {
    let functions: [(&str, usize, Function); 5] = [
        ("fma.rn", 3, |a, b, c| fma_in(BF16, a, b, c, Mode::Rn).unwrap_or(NAN)),
        ("neg", 1, |a, _, _| a ^ SIGN),
        ("abs", 1, |a, _, _| a & !SIGN),
        ("min", 2, |a, b, _| extreme(a, b, |x, y| x < y, a | b)),
        ("max", 2, |a, b, _| extreme(a, b, |x, y| x > y, a & b)),
    ];
    functions.into_iter().flat_map(|(name, operands, want)| both(name, operands, want)).collect()
}

fn value(bits: u64) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The smaller or larger of two values, as `first` says. Equal values, which may be zeros of both signs, give `equal`,
/// and one NaN gives the other operand.
fn extreme(a: u64, b: u64, first: fn(f32, f32) -> bool, equal: u64) -> u64 {
    let (x, y) = (value(a), value(b));
    match (x.is_nan(), y.is_nan()) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        (false, false) if x == y => equal,
        (false, false) => {
            if first(x, y) {
                a
            } else {
                b
            }
        }
    }
}

/// The instruction on one bf16, and on pairs of it.
fn both(name: &str, operands: usize, want: Function) -> [Program; 2] {
    let registers: Vec<String> = (0..operands).map(|i| format!("%a{i}")).collect();
    let registers = registers.join(", ");
    let upper = floats(300).into_iter().map(|v| v >> 16);
    let values: Vec<u64> =
        upper.chain(integers(16, 60)).filter(|&v| !value(v).is_nan() || operands > 1).collect();
    let rows: Vec<Vec<u64>> = triples(&values, 12).into_iter().map(|row| row[..operands].to_vec()).collect();
    let at = |row: &[u64], i: usize| row.get(i).copied().unwrap_or(0);
    let one = Program::new(format!("{name}.bf16 %d0, {registers};"), &vec![B16; operands], &[B16]);
    let one = one.exact(rows.clone(), |row| want(at(row, 0), at(row, 1), at(row, 2)));
    let pair = Program::new(format!("{name}.bf16x2 %d0, {registers};"), &vec![B32; operands], &[B32]);
    let other = rows.iter().cycle().skip(7);
    let joined =
        rows.iter().zip(other).map(|(low, high)| low.iter().zip(high).map(|(l, h)| h << 16 | l).collect());
    let pair = pair.exact(joined.collect(), |row| {
        let half = |shift: u32| {
            let part = |i| at(row, i) >> shift & 0xFFFF;
            want(part(0), part(1), part(2)) << shift
        };
        half(16) | half(0)
    });
    [one, pair]
}
