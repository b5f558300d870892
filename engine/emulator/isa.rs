//! The compact form that runs: what each instruction does, on register slots.
//!
//! Every operand is a slot of one of three register files (see [`crate::types::File`]); immediates and special
//! registers are slots too, filled before a warp starts, so no instruction looks at what kind of operand it has.

use crate::types::{Space, Type};

/// Index into a register file.
pub(crate) type Slot = u32;

/// Rounding of a float result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Nearest,
    Zero,
    Down,
    Up,
}

/// Modifiers of f32 arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub round: Round,
    /// Denormal inputs and results become zeros of the same sign.
    pub ftz: bool,
    /// Results clamped to [0, 1], NaN to 0.
    pub sat: bool,
}

impl Mode {
    pub const PLAIN: Self = Self { round: Round::Nearest, ftz: false, sat: false };
}

/// Whole-number operations of two operands; signedness where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int2 {
    Add,
    Sub,
    Mul,
    MulHi,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int1 {
    Not,
    CNot,
    Neg,
    Abs,
    Brev,
}

/// Results that are counts, 32 bits whatever the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Popc,
    Clz,
    /// Position of the most significant set (or non-sign) bit, or with `shift` the shift that would move it to the top.
    Bfind {
        shift: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shift {
    Left,
    Right,
    /// Arithmetic.
    RightSigned,
}

/// Predicate logic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Float2 {
    Add,
    Sub,
    Mul,
    Div,
    Min {
        nan: bool,
    },
    Max {
        nan: bool,
    },
    /// Magnitude of the second, sign of the first, as PTX orders them.
    CopySign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Float1 {
    Neg,
    Abs,
    Sqrt,
    Rcp,
    Rsqrt,
    Ex2,
    Lg2,
    Sin,
    Cos,
    Tanh,
}

/// Comparison; the unordered forms are true when an operand is NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    /// Both are numbers.
    Num,
    /// At least one is NaN.
    Nan,
}

/// What `setp` and `set` compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub f: Compare,
    pub ty: Type,
    pub ftz: bool,
}

/// The predicate a comparison is joined with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Combine {
    pub logic: Logic,
    pub p: Slot,
    pub negated: bool,
}

/// Elementwise bf16 operations, on one or on a pair in a 32-bit register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Fma { relu: bool },
    Min { nan: bool },
    Max { nan: bool },
    Neg,
    Abs,
    Ex2,
    Tanh,
}

/// How a conversion to a whole number rounds, or a float to a whole float.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Convert {
    pub to: Type,
    pub from: Type,
    pub round: Option<Round>,
    /// `.rni .rzi .rmi .rpi`: to a whole value.
    pub whole: bool,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    /// Width of the destination register.
    pub register_bits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Atomic {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Inc,
    Dec,
    Cas,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Bfly,
    Idx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierReduce {
    Popc,
    And,
    Or,
}

/// An address: a register (or a slot that holds a constant) plus an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub base: Slot,
    /// The base lives in the 32-bit file.
    pub short: bool,
    pub offset: i64,
}

/// A load or store of up to four elements a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub space: Space,
    pub address: Address,
    /// Bytes of an element.
    pub width: u32,
    pub count: u32,
    /// The registers are of the 64-bit file.
    pub double: bool,
    /// Sign-extended loads of elements narrower than their register, and the register's bits.
    pub signed: bool,
    pub register_bits: u32,
    /// Volatile, relaxed, acquire or release: no race with atomics and other strong accesses.
    pub strong: bool,
    /// `.nc`: through a cache that does not see stores of the same launch.
    pub non_coherent: bool,
    /// `Slot::MAX` for elements nobody wants (`_`).
    pub registers: [Slot; 4],
}

impl Access {
    /// Bytes a thread moves.
    pub fn bytes(&self) -> u32 {
        self.width * self.count
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct AtomicAccess {
    pub space: Space,
    pub address: Address,
    pub op: Atomic,
    pub ty: Type,
    /// None for `red`.
    pub dest: Option<Slot>,
    pub a: Slot,
    /// The new value of `cas`.
    pub b: Slot,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct AsyncCopy {
    pub to: Address,
    pub from: Address,
    pub bytes: u32,
    /// Bytes taken from the source; the rest are zeros.
    pub source_bytes: Option<Slot>,
}

/// The instruction at `pc` on slots. `d` is the destination; narrow types are 8 or 16 bits in the word file.
// One line each: as a table.
#[rustfmt::skip]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Nop,
    Move { d: Slot, a: Slot },
    Move64 { d: Slot, a: Slot },
    MovePred { d: Slot, a: Slot },
    /// Two 32-bit registers to one of 64 bits and back.
    Pack64 { d: Slot, low: Slot, high: Slot },
    Unpack64 { low: Slot, high: Slot, a: Slot },
    /// Two 16-bit registers to one of 32 bits and back.
    Pack32 { d: Slot, low: Slot, high: Slot },
    Unpack32 { low: Slot, high: Slot, a: Slot },
    Int { f: Int2, ty: Type, d: Slot, a: Slot, b: Slot },
    /// `a + b`, `a - b` with the carry flag: `read` it, `write` it.
    Carry { subtract: bool, read: bool, write: bool, d: Slot, a: Slot, b: Slot },
    /// The low or high half of `a * b`, plus `c`, with the carry flag.
    MadCarry { high: bool, ty: Type, read: bool, write: bool, d: Slot, a: Slot, b: Slot, c: Slot },
    Unary { f: Int1, ty: Type, d: Slot, a: Slot },
    Count { f: Count, ty: Type, d: Slot, a: Slot },
    Shift { f: Shift, ty: Type, d: Slot, a: Slot, b: Slot },
    /// `a * b` in twice the width.
    MulWide { ty: Type, d: Slot, a: Slot, b: Slot },
    MadWide { ty: Type, d: Slot, a: Slot, b: Slot, c: Slot },
    Mad { high: bool, ty: Type, d: Slot, a: Slot, b: Slot, c: Slot },
    Sad { ty: Type, d: Slot, a: Slot, b: Slot, c: Slot },
    Dp4a { a_signed: bool, b_signed: bool, d: Slot, a: Slot, b: Slot, c: Slot },
    Bfe { ty: Type, d: Slot, a: Slot, b: Slot, c: Slot },
    Bfi { ty: Type, d: Slot, a: Slot, b: Slot, c: Slot, e: Slot },
    Prmt { d: Slot, a: Slot, b: Slot, c: Slot },
    Funnel { left: bool, wrap: bool, d: Slot, a: Slot, b: Slot, c: Slot },
    Lop3 { table: u8, d: Slot, a: Slot, b: Slot, c: Slot },
    /// `d = a compare b`, combined with a predicate; `q` gets the negated comparison, combined alike.
    SetPred { compare: Comparison, d: Slot, q: Option<Slot>, a: Slot, b: Slot, combine: Option<Combine> },
    /// 1.0 or all ones where the comparison holds.
    Set { compare: Comparison, float: bool, d: Slot, a: Slot, b: Slot },
    Select { d: Slot, a: Slot, b: Slot, p: Slot },
    Select64 { d: Slot, a: Slot, b: Slot, p: Slot },
    Logic { f: Logic, d: Slot, a: Slot, b: Slot },
    NotPred { d: Slot, a: Slot },
    /// Whether a generic address lies in a space.
    IsSpace { space: Space, d: Slot, a: Slot },
    Float { f: Float2, mode: Mode, d: Slot, a: Slot, b: Slot },
    FloatUnary { f: Float1, mode: Mode, d: Slot, a: Slot },
    Fma { mode: Mode, d: Slot, a: Slot, b: Slot, c: Slot },
    Float64 { f: Float2, d: Slot, a: Slot, b: Slot },
    Unary64 { f: Float1, d: Slot, a: Slot },
    /// `.approx.ftz.f64` reciprocals: the low half of the result is zero.
    Approx64 { f: Float1, d: Slot, a: Slot },
    Fma64 { d: Slot, a: Slot, b: Slot, c: Slot },
    /// On a bf16 or a pair of them.
    Bf16 { f: Half, pair: bool, d: Slot, a: Slot, b: Slot, c: Slot },
    Convert { convert: Convert, d: Slot, a: Slot },
    /// Two f32 to a pair; `high` is the first operand.
    ConvertPair { round: Round, relu: bool, d: Slot, high: Slot, low: Slot },
    /// Between generic addresses and those of a space.
    Generic { space: Space, to: bool, d: Slot, a: Slot },
    Load(Access),
    Store(Access),
    Atomic(AtomicAccess),
    CopyAsync(AsyncCopy),
    CopyCommit,
    /// All but the newest `pending` groups; None waits for everything.
    CopyWait { pending: Option<u32> },
    /// Without a count, all threads of the block; `bar.arrive` does not wait.
    Barrier { id: Slot, count: Option<Slot>, wait: bool },
    BarrierReduce { f: BarrierReduce, id: Slot, count: Option<Slot>, d: Slot, p: Slot, negated: bool },
    WarpBarrier { mask: Slot },
    /// Memory ordering: execution here is sequentially consistent.
    Fence,
    Shuffle { mode: ShuffleMode, d: Slot, p: Option<Slot>, a: Slot, lane: Slot, clamp: Slot, mask: Slot },
    Vote { f: VoteMode, d: Slot, p: Slot, negated: bool, mask: Slot },
    Match { all: bool, ty: Type, d: Slot, p: Option<Slot>, a: Slot, mask: Slot },
    Redux { f: Atomic, signed: bool, d: Slot, a: Slot, mask: Slot },
    ActiveMask { d: Slot },
    Clock { double: bool, d: Slot },
    Branch { target: u32 },
    /// Jump to `tables[table][a]`.
    BranchTable { table: u32, a: Slot },
    Exit,
    Trap,
}

/// Which way an operand is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
}
