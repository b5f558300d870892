//! Approximate functions, within the errors that the PTX ISA documents (8.4, floating-point instructions; where
//! editions differ, the larger), against f64.

use super::exact::flush;
use super::program::{Expect, Program, Type::*};
use super::values::{floats, pairs, singles};

const ONE: u64 = 0x3F80_0000;
const INFINITY: u64 = 0x7F80_0000;
const SIGN: u64 = 0x8000_0000;
const NAN: u64 = 0x7FC0_0000;

pub fn programs() -> Vec<Program> {
    [one_operand(), quotients(), special()].concat()
}

fn f(bits: u64) -> f64 {
    f64::from(f32::from_bits(bits as u32))
}

/// Distance of neighbouring f32 near a value.
fn ulp(value: f64) -> f64 {
    (value.abs().log2().floor() - 23.0).max(-149.0).exp2()
}

/// The results allowed for an exact value. Where `.ftz` meets the end of the normal range or of the whole range, the
/// results of both sides are allowed.
fn near(value: f64, error: f64, ftz: bool) -> Expect {
    let (smallest, largest) = (f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX));
    match value.abs() {
        v if v.is_nan() => Expect::Nan,
        v if v > largest + error => Expect::Bits(INFINITY | if value < 0.0 { SIGN } else { 0 }),
        v if v > largest - error => Expect::Any,
        v if ftz && v < smallest - error => Expect::Bits(if value.is_sign_negative() { SIGN } else { 0 }),
        v if ftz && v < smallest + error => Expect::Any,
        // Subnormal results are only as precise as the spacing of subnormals.
        v if v > 0.0 && v < smallest => Expect::Near { value, error: error.max(2f64.powi(-149)) },
        _ => Expect::Near { value, error },
    }
}

/// Floats of all sizes, and many in [-130, 130], where exponentials and waves vary.
fn inputs() -> Vec<Vec<u64>> {
    let moderate = (-2000..2000).map(|i| u64::from((i as f32 * 0.065_137).to_bits()));
    floats(3000).into_iter().chain(moderate).map(|v| vec![v]).collect()
}

fn one_operand() -> Vec<Program> {
    type Function = fn(f64) -> f64;
    type Error = fn(f64) -> f64;
    // The function, whether there is a form without `.ftz`, the value, and the largest error for the exact value.
    let functions: [(&str, Function, Error); 5] = [
        ("ex2", f64::exp2, |y| y * 2f64.powi(-22)),
        // The error is absolute between 0.5 and 2, where the result is below 1, and relative elsewhere.
        ("lg2", f64::log2, |y| y.abs().max(1.0) * 2f64.powi(-22)),
        ("rcp", f64::recip, ulp),
        ("rsqrt", |x| 1.0 / x.sqrt(), |y| y * 2f64.powf(-22.4)),
        ("sqrt", f64::sqrt, |y| y * 2f64.powi(-22)),
    ];
    let mut programs = vec![];
    for (name, function, error) in functions {
        for ftz in [false, true] {
            let dot = if ftz { ".ftz" } else { "" };
            let program = Program::new(format!("{name}.approx{dot}.f32 %d0, %a0;"), &[F32], &[F32]);
            programs.push(program.rows(inputs(), |row| {
                let value = function(f(if ftz { flush(row[0]) } else { row[0] }));
                // Zeros and infinities are exact.
                let error = if value == 0.0 || value.is_infinite() { 0.0 } else { error(value) };
                vec![near(value, error, ftz)]
            }));
        }
    }
    for (name, function) in [("sin", f64::sin as Function), ("cos", f64::cos)] {
        let program = Program::new(format!("{name}.approx.f32 %d0, %a0;"), &[F32], &[F32]);
        let rows = inputs().into_iter().filter(|row| f(row[0]).abs() <= std::f64::consts::TAU).collect();
        programs.push(program.rows(rows, |row| vec![near(function(f(row[0])), 2f64.powf(-20.5), false)]));
    }
    let tanh = Program::new("tanh.approx.f32 %d0, %a0;", &[F32], &[F32]);
    let want = |row: &[u64]| {
        let value = f(row[0]).tanh();
        vec![near(value, (value.abs() * 2f64.powi(-11)).max(1e-44), false)]
    };
    programs.push(tanh.rows(inputs(), want));
    programs
}

/// Quotients are within two units in the last place, `div.approx` only for divisors between 2^-126 and 2^126.
fn quotients() -> Vec<Program> {
    let mut programs = vec![];
    for form in ["div.approx", "div.approx.ftz", "div.full", "div.full.ftz"] {
        let ftz = form.ends_with("ftz");
        let value = move |bits: u64| f(if ftz { flush(bits) } else { bits });
        let in_range = |row: &Vec<u64>| (2f64.powi(-126)..=2f64.powi(126)).contains(&f(row[1]).abs());
        let rows = pairs(&floats(90)).into_iter().filter(in_range).collect();
        let program = Program::new(format!("{form}.f32 %d0, %a0, %a1;"), &[F32, F32], &[F32]);
        programs.push(program.rows(rows, |row| {
            let quotient = value(row[0]) / value(row[1]);
            let exact = quotient == 0.0 || !quotient.is_finite();
            vec![near(quotient, if exact { 0.0 } else { 2.0 * ulp(quotient) }, ftz)]
        }));
    }
    programs
}

/// Rows that the documents list bit by bit.
fn special() -> Vec<Program> {
    let one = |form: &str| Program::new(format!("{form}.f32 %d0, %a0;"), &[F32], &[F32]);
    let nan = |program: Program, inputs: &[u64]| program.rows(singles(inputs), |_| vec![Expect::Nan]);
    vec![
        nan(one("ex2.approx.ftz"), &[NAN])
            .row(&[SIGN | INFINITY], 0)
            .row(&[SIGN], ONE)
            .row(&[0], ONE)
            // A subnormal exponent, and one whose power is subnormal: -127.
            .row(&[1], ONE)
            .row(&[0xC2FE_0000], 0)
            .row(&[INFINITY], INFINITY),
        // Without `.ftz` the same power is near the subnormal 2^-127: the documented error of 2^-22 is one unit there.
        one("ex2.approx")
            .rows(vec![vec![0xC2FE_0000]], |_| vec![near(2f64.powi(-127), 2f64.powi(-149), false)])
            .row(&[0x4300_0000], INFINITY),
        nan(one("lg2.approx.ftz"), &[NAN, 0xBF80_0000, SIGN | INFINITY])
            .row(&[0], SIGN | INFINITY)
            .row(&[SIGN], SIGN | INFINITY)
            // Subnormals are zeros here, of either sign.
            .row(&[1], SIGN | INFINITY)
            .row(&[INFINITY], INFINITY),
        nan(one("rcp.approx.ftz"), &[NAN])
            .row(&[SIGN | INFINITY], SIGN)
            .row(&[SIGN], SIGN | INFINITY)
            .row(&[0x8000_0001], SIGN | INFINITY)
            .row(&[0], INFINITY)
            .row(&[INFINITY], 0),
        nan(one("rsqrt.approx.ftz"), &[NAN, 0xBF80_0000, SIGN | INFINITY])
            .row(&[SIGN], SIGN | INFINITY)
            .row(&[0], INFINITY)
            .row(&[INFINITY], 0),
        nan(one("sqrt.approx.ftz"), &[NAN, 0xBF80_0000])
            .row(&[SIGN], SIGN)
            .row(&[0], 0)
            .row(&[INFINITY], INFINITY),
    ]
}
