//! The formats of floats that are narrower than f32: their values, and how an f64 is rounded to them.

use crate::float;
use crate::isa::{Round, Small, ToSmall};

impl Small {
    /// The number of bits of the exponent and of the mantissa.
    #[inline(always)]
    const fn shape(self) -> (u32, u32) {
        match self {
            Self::F16 => (5, 10),
            Self::Bf16 => (8, 7),
            Self::Tf32 => (8, 10),
            Self::E4m3 => (4, 3),
            Self::E5m2 => (5, 2),
        }
    }

    /// The NaN that conversions and arithmetic write, without a sign.
    #[inline(always)]
    const fn nan(self) -> u32 {
        match self {
            Self::Tf32 => 0x3_ffff,
            Self::F16 | Self::Bf16 => 0x7fff,
            Self::E4m3 | Self::E5m2 => 0x7f,
        }
    }

    /// The largest number. E4M3 has no infinity, and one NaN in its place.
    #[inline(always)]
    const fn largest(self) -> u32 {
        let (exponent, mantissa) = self.shape();
        match self {
            Self::E4m3 => 0x7e,
            _ => (((1 << exponent) - 1) << mantissa) - 1,
        }
    }
}

/// Rounds to nearest, with no other modifier.
pub(crate) const fn nearest(to: Small) -> ToSmall {
    ToSmall { to, round: Round::Nearest, away: false, relu: false, finite: false }
}

/// Rounds an f64 to the bits of a format.
#[inline(always)]
pub(crate) fn narrow(x: f64, how: ToSmall) -> u32 {
    let bits = magnitude(x, how);
    let (exponent, mantissa) = how.to.shape();
    let negative = x < 0.0 && !how.relu || x == 0.0 && x.is_sign_negative();
    let bits = bits | u32::from(negative) << (exponent + mantissa);
    if how.to == Small::Tf32 {
        // The lower bits of a NaN are set as in that of f32.
        return bits << 13 | if x.is_nan() { 0x1fff } else { 0 };
    }
    bits
}

/// The bits of [`narrow`] without the sign.
#[inline(always)]
fn magnitude(x: f64, how: ToSmall) -> u32 {
    let (exponent_bits, mantissa_bits) = how.to.shape();
    let negative = x < 0.0;
    if x.is_nan() {
        return how.to.nan();
    }
    if x == 0.0 || how.relu && negative {
        return 0;
    }
    let largest = how.to.largest();
    if x.is_infinite() {
        return if how.finite { largest } else { largest + 1 };
    }
    // The value is `significand` times two to the power `scale` - 52. Denormals of f64 are below half of everything.
    let bits = x.to_bits();
    let scale = (bits >> 52 & 0x7ff) as i32 - 1023;
    let significand = bits & ((1 << 52) - 1) | 1 << 52;
    let least_scale = 2 - (1 << (exponent_bits - 1));
    let above = (scale - least_scale).max(0);
    let below = (least_scale - scale).max(0) as u32;
    let shift = (52 - mantissa_bits + below).min(60);
    let kept = significand >> shift;
    let rest = significand & ((1 << shift) - 1);
    let half = 1u64 << (shift - 1);
    let up = match how.round {
        Round::Nearest => rest > half || rest == half && (how.away || kept & 1 == 1),
        Round::Zero => false,
        Round::Down => rest != 0 && negative,
        Round::Up => rest != 0 && !negative,
    };
    // A carry out of the mantissa goes into the exponent, as it should.
    let rounded = ((above as u64) << mantissa_bits) + kept + u64::from(up);
    if rounded <= u64::from(largest) {
        return rounded as u32;
    }
    let to_infinity = match how.round {
        Round::Nearest => true,
        Round::Zero => false,
        Round::Down => negative,
        Round::Up => !negative,
    };
    if how.finite || !to_infinity { largest } else { largest + 1 }
}

/// The value of a format's bits, which is exact.
#[inline(always)]
pub(crate) fn widen(from: Small, bits: u32) -> f32 {
    match from {
        Small::F16 => float::from_f16(bits as u16),
        Small::Bf16 => float::from_bf16(bits as u16),
        Small::Tf32 => f32::from_bits(bits),
        Small::E5m2 => float::from_f16((bits as u16) << 8),
        Small::E4m3 => {
            let (exponent, mantissa) = (bits >> 3 & 15, bits & 7);
            let magnitude = match (exponent, mantissa) {
                (15, 7) => float::NAN,
                (0, _) => (mantissa as f32 / 512.0).to_bits(),
                _ => (exponent + 120) << 23 | mantissa << 20,
            };
            f32::from_bits((bits >> 7 & 1) << 31 | magnitude)
        }
    }
}

/// Converts a pair in the halves of a word (or its lower two bytes) to a pair of another format.
pub(crate) fn narrow_pair(from: Small, how: ToSmall, pair: u32) -> u32 {
    let width = |format| if matches!(format, Small::E4m3 | Small::E5m2) { 8 } else { 16 };
    let (old, new) = (width(from), width(how.to));
    let one = |bits: u32| narrow(f64::from(widen(from, bits & ((1 << old) - 1))), how);
    one(pair) | one(pair >> old) << new
}
