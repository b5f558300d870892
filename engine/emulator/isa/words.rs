//! What the less frequent operations compute: floats of 16 bits and less, f64 in the directed rounding modes, and video
//! instructions.

use super::{Compare, Int2, Round};

/// The formats of floats that are narrower than f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Small {
    F16,
    Bf16,
    /// Lies in the upper 19 bits of a word.
    Tf32,
    E4m3,
    E5m2,
}

/// How a value becomes one of a [`Small`] format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToSmall {
    pub to: Small,
    pub round: Round,
    /// Ties go away from zero instead of to even (`.rna`).
    pub away: bool,
    /// Negative numbers become +0.
    pub relu: bool,
    /// What is too large becomes the largest number, not infinity (`.satfinite`).
    pub finite: bool,
}

/// Operations on floats of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Add,
    Sub,
    Mul,
    Fma { relu: bool },
    Extreme(Extreme),
    Neg,
    Abs,
    Ex2,
    Tanh,
}

/// The forms of `min` and `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extreme {
    pub max: bool,
    /// NaN wins over numbers.
    pub nan: bool,
    /// Magnitudes are compared, and the result has the product of the signs (`.xorsign.abs`).
    pub magnitude: bool,
}

/// The modifiers of arithmetic on floats of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HalfMode {
    /// f16 or bf16.
    pub format: Small,
    /// The registers hold pairs.
    pub pair: bool,
    pub ftz: bool,
    pub sat: bool,
}

/// Operations on f64 in the rounding modes that the CPU does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exact64 {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Sqrt,
}

/// The classes of floats that `testp` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatClass {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

/// Ways in which `prmt` makes four byte selectors of two bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permute {
    Forward4,
    Backward4,
    Replicate8,
    EdgeLeft,
    EdgeRight,
    Replicate16,
}

/// What instructions compute with words now and then. Those with fewer than three operands repeat the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WordOp {
    Permute(Permute),
    Dp2a {
        high: bool,
        a_signed: bool,
        b_signed: bool,
    },
    /// A mask of `b` ones from bit `a` on.
    Mask {
        clamp: bool,
    },
    /// The low `b` bits of `a`, extended.
    Extend {
        clamp: bool,
        signed: bool,
    },
    /// The position of the set bit of `a` that is `c` set bits away from position `b`.
    FindSet,
    /// The upper or lower word of the product of 24-bit numbers, plus `c` where `add`.
    Product24 {
        high: bool,
        signed: bool,
        add: bool,
        sat: bool,
    },
    /// The sum (or difference) of signed words, clamped to their range.
    AddSat {
        subtract: bool,
    },
    /// The upper word of a signed product plus `c`, clamped.
    MadSat,
    /// The smaller or larger of two signed words and 0 below.
    Relu {
        max: bool,
    },
    /// On the two halves of words.
    Pairs {
        f: Int2,
        signed: bool,
        relu: bool,
    },
    /// `a` and `b`, clamped to `bits` bits, below `c`.
    PackSat {
        bits: u32,
        signed: bool,
    },
    /// `min` and `max` of the magnitudes of f32.
    Extreme32 {
        f: Extreme,
        ftz: bool,
    },
    /// From f32 to a word of another format.
    Narrow(ToSmall),
    /// From a pair in one format to a pair in another.
    NarrowPair {
        from: Small,
        how: ToSmall,
    },
    Video(Video),
    Simd(Simd),
}

/// What video instructions compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VideoOp {
    Add,
    Sub,
    AbsDiff,
    Average,
    Min,
    Max,
    Shl {
        wrap: bool,
    },
    Shr {
        wrap: bool,
    },
    Set(Compare),
    /// `a b + c`, plus one where `po`, shifted to the right.
    Mad {
        po: bool,
        shift: u32,
    },
}

/// A part of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    Half(u32),
    Byte(u32),
}

/// What a scalar video instruction does with its result and `c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Nothing,
    Add,
    Min,
    Max,
    /// Puts the result in a part of `c`.
    Merge(Part),
}

/// A scalar video instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Video {
    pub f: VideoOp,
    /// The result is signed.
    pub signed: bool,
    pub a_signed: bool,
    pub b_signed: bool,
    pub a: Part,
    pub b: Part,
    pub sat: bool,
    pub then: Then,
}

/// A video instruction on two halves or four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Simd {
    pub f: VideoOp,
    /// 2 or 4.
    pub count: u32,
    pub signed: bool,
    pub a_signed: bool,
    pub b_signed: bool,
    /// For each result the part of the pair `b a` that is the first operand, and the second.
    pub a: [u8; 4],
    pub b: [u8; 4],
    /// The parts that are computed.
    pub mask: u8,
    pub sat: bool,
    /// The results are added to `c`; else they replace its parts.
    pub add: bool,
}
