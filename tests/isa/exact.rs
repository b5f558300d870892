//! Computes the results of instructions by exact integer arithmetic. A value is an integer times a power of two, with a
//! flag for "a little more", and is rounded once to the wanted format. Nothing here rounds in floating point.

/// Rounding modes of PTX: to nearest with ties to even, toward zero, down, up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Rn,
    Rz,
    Rm,
    Rp,
}

pub const MODES: [(&str, Mode); 4] = [("rn", Mode::Rn), ("rz", Mode::Rz), ("rm", Mode::Rm), ("rp", Mode::Rp)];

/// A binary floating-point format: bits of precision (the hidden one too) and the exponent range.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pub precision: u32,
    pub min_exponent: i32,
    pub max_exponent: i32,
}

pub const F32: Format = Format { precision: 24, min_exponent: -126, max_exponent: 127 };
pub const BF16: Format = Format { precision: 8, ..F32 };
pub const F16: Format = Format { precision: 11, min_exponent: -14, max_exponent: 15 };
pub const F64: Format = Format { precision: 53, min_exponent: -1022, max_exponent: 1023 };

impl Format {
    fn mantissa_bits(self) -> u32 {
        self.precision - 1
    }

    fn width(self) -> u32 {
        self.mantissa_bits() + 2 + (self.max_exponent - self.min_exponent + 2).ilog2()
    }

    fn sign(self, negative: bool) -> u64 {
        u64::from(negative) << (self.width() - 1)
    }

    fn infinity(self) -> u64 {
        ((self.max_exponent - self.min_exponent + 2) as u64) << self.mantissa_bits()
    }
}

/// A datum of some format, taken apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Nan,
    Infinity {
        negative: bool,
    },
    /// A finite value. Zero is one, because its sign matters.
    Finite(Exact),
}

/// `± (mantissa + tail) 2^exponent`, where the tail is in (0, 1) if `more`, else 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exact {
    pub negative: bool,
    pub mantissa: u128,
    pub exponent: i32,
    pub more: bool,
}

impl Exact {
    pub fn integer(value: i128) -> Self {
        Exact { negative: value < 0, mantissa: value.unsigned_abs(), exponent: 0, more: false }
    }

    fn is_zero(self) -> bool {
        self.mantissa == 0 && !self.more
    }

    /// Rounds to a format. Overflow goes to infinity or to the largest finite value, as the mode says.
    pub fn round(self, format: Format, mode: Mode) -> u64 {
        let sign = format.sign(self.negative);
        if self.is_zero() {
            return sign;
        }
        let top = self.exponent + 127 - self.mantissa.leading_zeros() as i32;
        let top = top.max(format.min_exponent);
        let (kept, up) = self.split(top - format.mantissa_bits() as i32, mode);
        // A normal value carries its hidden bit into the exponent field, and so does a carry out of the mantissa.
        let exponent = (top - format.min_exponent) as u64;
        let bits = (exponent << format.mantissa_bits()) + kept as u64 + u64::from(up);
        let infinity = format.infinity();
        let away = match mode {
            Mode::Rn => true,
            Mode::Rz => false,
            Mode::Rm => self.negative,
            Mode::Rp => !self.negative,
        };
        sign | if bits < infinity || away { bits.min(infinity) } else { infinity - 1 }
    }

    /// Rounds to an integer of `bits` bits. A value that does not fit goes to the nearest end of the range.
    pub fn to_integer(self, mode: Mode, bits: u32, signed: bool) -> u64 {
        let (low, high) = match signed {
            true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
            false => (0, (1i128 << bits) - 1),
        };
        let magnitude = if self.exponent > 64 && self.mantissa > 0 {
            i128::MAX
        } else {
            let (kept, up) = self.split(0, mode);
            kept as i128 + i128::from(up)
        };
        let value = if self.negative { -magnitude } else { magnitude };
        value.clamp(low, high) as u64 & mask(bits)
    }

    /// The integer part in units of `2^unit`, and whether the mode rounds it up in magnitude.
    fn split(self, unit: i32, mode: Mode) -> (u128, bool) {
        let shift = unit - self.exponent;
        let (kept, rest, half) = match shift {
            ..=0 => {
                assert!(!self.more, "too few exact bits");
                (self.mantissa << -shift, 0, 1)
            }
            1..=127 => (self.mantissa >> shift, self.mantissa & ((1 << shift) - 1), 1u128 << (shift - 1)),
            _ => (0, self.mantissa.min(1), 2),
        };
        let inexact = rest > 0 || self.more;
        let up = match mode {
            Mode::Rn if shift <= 0 => false,
            Mode::Rn => rest > half || (rest == half && (self.more || kept & 1 == 1)),
            Mode::Rz => false,
            Mode::Rm => inexact && self.negative,
            Mode::Rp => inexact && !self.negative,
        };
        (kept, up)
    }
}

pub fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// The datum behind the bits of a format.
pub fn number(bits: u64, format: Format) -> Number {
    let mantissa_bits = format.mantissa_bits();
    let negative = bits & format.sign(true) != 0;
    let fraction = bits & mask(mantissa_bits);
    let exponent = (bits & !format.sign(true)) >> mantissa_bits;
    if exponent == format.infinity() >> mantissa_bits {
        return if fraction == 0 { Number::Infinity { negative } } else { Number::Nan };
    }
    let hidden = u64::from(exponent > 0) << mantissa_bits;
    Number::Finite(Exact {
        negative,
        mantissa: u128::from(fraction | hidden),
        exponent: exponent.max(1) as i32 - 1 + format.min_exponent - mantissa_bits as i32,
        more: false,
    })
}

/// The sum. An exact zero from two values that are not both zeros of one sign is -0 only when rounding down.
fn sum(a: Exact, b: Exact, mode: Mode) -> Exact {
    match (a.is_zero(), b.is_zero()) {
        (true, true) if a.negative != b.negative => return Exact { negative: mode == Mode::Rm, ..a },
        (_, true) => return a,
        (true, false) => return b,
        (false, false) => {}
    }
    let (big, small) = if a.exponent < b.exponent { (b, a) } else { (a, b) };
    // The larger value is shifted up as far as an i128 allows; what remains of the smaller one below that is the tail.
    let shift = (big.exponent - small.exponent).min(big.mantissa.leading_zeros() as i32 - 4);
    let exponent = big.exponent - shift;
    let below = (exponent - small.exponent).min(127);
    let (part, more) = (small.mantissa >> below, small.mantissa & ((1 << below) - 1) > 0);
    let (whole, part) = ((big.mantissa << shift) as i128, part as i128);
    let same = big.negative == small.negative;
    let magnitude = if same { whole + part } else { whole - part - i128::from(more) };
    let value = if big.negative { -magnitude } else { magnitude };
    let negative = if value == 0 && !more { mode == Mode::Rm } else { value < 0 };
    Exact { negative, mantissa: value.unsigned_abs(), exponent, more }
}

fn product(a: Exact, b: Exact) -> Exact {
    Exact {
        negative: a.negative != b.negative,
        mantissa: a.mantissa * b.mantissa,
        exponent: a.exponent + b.exponent,
        more: false,
    }
}

/// The sum of two data of a format; `None` is NaN.
pub fn add_in(format: Format, a: u64, b: u64, mode: Mode) -> Option<u64> {
    match (number(a, format), number(b, format)) {
        (Number::Nan, _) | (_, Number::Nan) => None,
        (Number::Infinity { negative: x }, Number::Infinity { negative: y }) if x != y => None,
        (Number::Infinity { .. }, _) => Some(a),
        (_, Number::Infinity { .. }) => Some(b),
        (Number::Finite(x), Number::Finite(y)) => Some(sum(x, y, mode).round(format, mode)),
    }
}

pub fn mul_in(format: Format, a: u64, b: u64, mode: Mode) -> Option<u64> {
    let zero = |x: Number| matches!(x, Number::Finite(x) if x.is_zero());
    match (number(a, format), number(b, format)) {
        (Number::Nan, _) | (_, Number::Nan) => None,
        (Number::Finite(x), Number::Finite(y)) => Some(product(x, y).round(format, mode)),
        (x, y) if zero(x) || zero(y) => None,
        _ => Some(format.infinity() | (a ^ b) & format.sign(true)),
    }
}

pub fn fma_in(format: Format, a: u64, b: u64, c: u64, mode: Mode) -> Option<u64> {
    match (number(a, format), number(b, format), number(c, format)) {
        (_, _, Number::Nan) => None,
        (Number::Finite(x), Number::Finite(y), Number::Finite(z)) => {
            Some(sum(product(x, y), z, mode).round(format, mode))
        }
        (Number::Finite(_), Number::Finite(_), Number::Infinity { .. }) => Some(c),
        _ => add_in(format, mul_in(format, a, b, mode)?, c, mode),
    }
}

/// The sum of two f32; `None` is NaN.
pub fn add(a: u64, b: u64, mode: Mode) -> Option<u64> {
    add_in(F32, a, b, mode)
}

pub fn mul(a: u64, b: u64, mode: Mode) -> Option<u64> {
    mul_in(F32, a, b, mode)
}

pub fn fma(a: u64, b: u64, c: u64, mode: Mode) -> Option<u64> {
    fma_in(F32, a, b, c, mode)
}

pub fn div(a: u64, b: u64, mode: Mode) -> Option<u64> {
    let negative = (a ^ b) & F32.sign(true) != 0;
    let sign = F32.sign(negative);
    match (number(a, F32), number(b, F32)) {
        (Number::Nan, _) | (_, Number::Nan) => None,
        (Number::Infinity { .. }, Number::Infinity { .. }) => None,
        (Number::Infinity { .. }, _) => Some(sign | F32.infinity()),
        (_, Number::Infinity { .. }) => Some(sign),
        (Number::Finite(x), Number::Finite(y)) => match (x.is_zero(), y.is_zero()) {
            (true, true) => None,
            (true, false) => Some(sign),
            (false, true) => Some(sign | F32.infinity()),
            (false, false) => {
                let wide = x.mantissa << 80;
                let (mantissa, exponent) = (wide / y.mantissa, x.exponent - 80 - y.exponent);
                let more = wide % y.mantissa > 0;
                Some(Exact { negative, mantissa, exponent, more }.round(F32, mode))
            }
        },
    }
}

pub fn sqrt(a: u64, mode: Mode) -> Option<u64> {
    match number(a, F32) {
        Number::Finite(x) if x.is_zero() => Some(a),
        Number::Nan => None,
        _ if a & F32.sign(true) != 0 => None,
        Number::Infinity { .. } => Some(a),
        Number::Finite(x) => {
            let shift = if x.exponent % 2 == 0 { 80 } else { 81 };
            let wide = x.mantissa << shift;
            let mantissa = wide.isqrt();
            let more = mantissa * mantissa != wide;
            Some(
                Exact { negative: false, mantissa, exponent: (x.exponent - shift) / 2, more }
                    .round(F32, mode),
            )
        }
    }
}

/// Converts one format to another; `None` is NaN.
pub fn convert(bits: u64, from: Format, to: Format, mode: Mode) -> Option<u64> {
    match number(bits, from) {
        Number::Nan => None,
        Number::Infinity { negative } => Some(to.infinity() | to.sign(negative)),
        Number::Finite(x) => Some(x.round(to, mode)),
    }
}

/// Rounds to an integral value in the same format.
pub fn integral(bits: u64, mode: Mode) -> Option<u64> {
    match number(bits, F32) {
        Number::Nan => None,
        Number::Finite(x) if x.exponent < 0 => {
            let (kept, up) = x.split(0, mode);
            let whole = Exact { mantissa: kept + u128::from(up), exponent: 0, ..x };
            Some(whole.round(F32, Mode::Rn))
        }
        _ => Some(bits),
    }
}

/// Converts to an integer of `bits` bits, which saturates and turns NaN into 0.
pub fn to_integer(value: u64, mode: Mode, bits: u32, signed: bool) -> u64 {
    match number(value, F32) {
        Number::Nan => 0,
        Number::Infinity { negative: true } if signed => 1 << (bits - 1),
        Number::Infinity { negative: true } => 0,
        Number::Infinity { negative: false } => mask(bits - u32::from(signed)),
        Number::Finite(x) => x.to_integer(mode, bits, signed),
    }
}

/// f32 with subnormals replaced by zeros of their sign.
pub fn flush(bits: u64) -> u64 {
    if bits & 0x7F80_0000 == 0 { bits & 0x8000_0000 } else { bits }
}

#[test]
fn the_oracle_agrees_with_the_processor_when_rounding_to_nearest() {
    let values = super::values::floats(120);
    let f = |bits: u64| f32::from_bits(bits as u32);
    let check = |what: &str, got: Option<u64>, want: f32| match got {
        Some(got) => assert_eq!(got, u64::from(want.to_bits()), "{what} = {want:e}"),
        None => assert!(want.is_nan(), "{what} = {want:e}"),
    };
    for &a in &values {
        check(&format!("sqrt {a:08x}"), sqrt(a, Mode::Rn), f(a).sqrt());
        check(&format!("integral {a:08x}"), integral(a, Mode::Rn), f(a).round_ties_even());
        assert_eq!(to_integer(a, Mode::Rz, 32, true), u64::from(f(a) as i32 as u32), "{a:08x}");
        assert_eq!(to_integer(a, Mode::Rz, 64, false), f(a) as u64, "{a:08x}");
        for &b in &values {
            let what = format!("{a:08x} {b:08x}");
            check(&what, add(a, b, Mode::Rn), f(a) + f(b));
            check(&what, mul(a, b, Mode::Rn), f(a) * f(b));
            check(&what, div(a, b, Mode::Rn), f(a) / f(b));
            for &c in values.iter().step_by(7) {
                check(&format!("{what} {c:08x}"), fma(a, b, c, Mode::Rn), f(a).mul_add(f(b), f(c)));
            }
        }
    }
}
