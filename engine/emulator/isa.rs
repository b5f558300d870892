//! The compact form of a kernel that runs: what each instruction does, on register slots.
//!
//! Every operand is a slot of one of three register files (see [`crate::types::RegisterFile`]). Immediates and special
//! registers are slots too, which are filled before a warp starts, so no instruction looks at what kind of operand it
//! has.

pub(crate) use self::words::*;
use crate::types::{Space, Type};

mod words;

/// An index into a register file.
pub(crate) type Slot = u32;

/// Stands for a slot that an instruction does not have: no guard, or an element that nobody wants (`_`).
pub(crate) const NO_SLOT: Slot = Slot::MAX;

/// The rounding of a float result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Nearest,
    Zero,
    Down,
    Up,
}

/// The modifiers of f32 arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub round: Round,
    /// Denormal inputs and results become zeros of the same sign.
    pub ftz: bool,
    /// Results are clamped to [0, 1], and NaN becomes 0.
    pub sat: bool,
}

impl Mode {
    /// Rounds to nearest, with no other modifier.
    pub const PLAIN: Self = Self { round: Round::Nearest, ftz: false, sat: false };
}

/// Operations on two whole numbers. The type of the instruction says whether they are signed, where that matters.
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

/// Operations on one whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int1 {
    Not,
    CNot,
    Neg,
    Abs,
    Brev,
}

/// Operations that count bits. The result has 32 bits whatever the operand has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BitCount {
    Popc,
    Clz,
    /// The position of the most significant set (or non-sign) bit, or with `shift` the shift that would move it to the
    /// top.
    Bfind {
        shift: bool,
    },
}

/// Directions of a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shift {
    Left,
    Right,
    /// Arithmetic: copies of the sign come in from the top.
    RightSigned,
}

/// The logic of predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// Operations on two floats.
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
    /// The magnitude of the second operand with the sign of the first, as PTX orders them.
    CopySign,
}

/// Operations on one float.
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

/// Comparisons. The unordered forms (those with a `u` at the end) are true when an operand is NaN.
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
    /// Both operands are numbers.
    Num,
    /// At least one operand is NaN.
    Nan,
}

/// What `setp` and `set` compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub f: Compare,
    pub ty: Type,
    pub ftz: bool,
}

/// The predicate that a comparison is joined with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Combine {
    pub logic: Logic,
    pub p: Slot,
    pub negated: bool,
}

/// A conversion (`cvt`) between two types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Convert {
    pub to: Type,
    pub from: Type,
    pub round: Option<Round>,
    /// Rounds to a whole value (`.rni .rzi .rmi .rpi`).
    pub whole: bool,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    /// What is too large becomes the largest number, not infinity (`.satfinite`).
    pub finite: bool,
    /// The width of the destination register in bits.
    pub register_bits: u32,
}

/// Read-modify-write operations on memory; `redux` uses some of them on registers.
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

impl Atomic {
    /// The operation that a modifier names, written without its dot.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "add" => Self::Add,
            "min" => Self::Min,
            "max" => Self::Max,
            "and" => Self::And,
            "or" => Self::Or,
            "xor" => Self::Xor,
            "exch" => Self::Exch,
            "inc" => Self::Inc,
            "dec" => Self::Dec,
            "cas" => Self::Cas,
            _ => return None,
        })
    }
}

/// How a shuffle finds the lane that it takes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Bfly,
    Idx,
}

/// What a vote answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

/// How `bar.red` reduces the predicates of a block.
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
    /// The base lies in the 32-bit file.
    pub short: bool,
    pub offset: i64,
}

/// How an access takes part in synchronisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strength {
    Weak,
    /// Also `volatile`, and what an atomic is unless it says more.
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

/// The threads with which an access or a fence synchronises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Block,
    /// All threads of the launch.
    Device,
}

/// The order and the scope of an access or a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryOrder {
    pub strength: Strength,
    pub scope: Scope,
}

impl MemoryOrder {
    /// An access that takes no part in synchronisation.
    pub const WEAK: Self = Self { strength: Strength::Weak, scope: Scope::Device };

    /// The access does not race with atomics and other strong accesses.
    pub fn strong(self) -> bool {
        self.strength != Strength::Weak
    }

    pub fn acquires(self) -> bool {
        matches!(self.strength, Strength::Acquire | Strength::AcquireRelease)
    }

    pub fn releases(self) -> bool {
        matches!(self.strength, Strength::Release | Strength::AcquireRelease)
    }
}

/// A load or store of up to four elements by each thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryAccess {
    pub space: Space,
    pub address: Address,
    /// The size of an element in bytes.
    pub width: u32,
    /// The number of elements: 1, 2 or 4.
    pub count: u32,
    /// The registers are those of the 64-bit file.
    pub double: bool,
    /// A load extends the sign of elements that are narrower than their register.
    pub signed: bool,
    /// The width of the registers in bits.
    pub register_bits: u32,
    pub order: MemoryOrder,
    /// The load goes through a cache that does not see stores of the same launch (`.nc`).
    pub non_coherent: bool,
    /// One bit for each byte of a load whose value is used: a pragma can say that some are padding.
    pub used: u16,
    /// [`NO_SLOT`] for elements that nobody wants.
    pub registers: [Slot; 4],
}

/// The mask of a load whose bytes are all used.
pub(crate) const ALL_BYTES: u16 = u16::MAX;

impl MemoryAccess {
    /// The bytes that a thread moves.
    pub fn bytes(&self) -> u32 {
        self.width * self.count
    }
}

/// An `atom` or a `red`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtomicAccess {
    pub space: Space,
    pub address: Address,
    pub op: Atomic,
    pub ty: Type,
    pub order: MemoryOrder,
    /// Receives the old value; none for `red`.
    pub dest: Option<Slot>,
    pub a: Slot,
    /// The new value of `cas`, whose `a` is compared.
    pub b: Slot,
    /// The multiple of bytes at which the address must lie.
    pub align: u32,
}

/// A `cp.async` from global to shared memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsyncCopy {
    pub to: Address,
    pub from: Address,
    pub bytes: u32,
    /// The number of bytes that are taken from the source; the rest are zeros.
    pub source_bytes: Option<Slot>,
}

/// An instruction on slots. `d` is the destination; values of 8 and 16 bits lie in the word file.
// One line for each operation, so that it reads as a table.
#[rustfmt::skip]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Nop,
    Move { d: Slot, a: Slot },
    Move64 { d: Slot, a: Slot },
    MovePred { d: Slot, a: Slot },
    /// Joins two 32-bit registers into one of 64 bits, and splits it again.
    Pack64 { d: Slot, low: Slot, high: Slot },
    Unpack64 { low: Slot, high: Slot, a: Slot },
    /// Joins two 16-bit registers into one of 32 bits, and splits it again.
    Pack32 { d: Slot, low: Slot, high: Slot },
    Unpack32 { low: Slot, high: Slot, a: Slot },
    Int { f: Int2, ty: Type, d: Slot, a: Slot, b: Slot },
    /// `a + b` or `a - b`, where `read` and `write` say how the carry flag is used.
    Carry { subtract: bool, ty: Type, read: bool, write: bool, d: Slot, a: Slot, b: Slot },
    /// The low or high half of `a * b`, plus `c`; `read` and `write` as in `Carry`.
    MadCarry { high: bool, ty: Type, read: bool, write: bool, d: Slot, a: Slot, b: Slot, c: Slot },
    Unary { f: Int1, ty: Type, d: Slot, a: Slot },
    Count { f: BitCount, ty: Type, d: Slot, a: Slot },
    Shift { f: Shift, ty: Type, d: Slot, a: Slot, b: Slot },
    /// `a * b` in twice the width of the operands.
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
    /// Compares `a` with `b` and combines the result with a predicate; `q` gets the negated comparison, combined alike.
    SetPred { compare: Comparison, d: Slot, q: Option<Slot>, a: Slot, b: Slot, combine: Option<Combine> },
    /// Gives 1.0 or all ones where the comparison holds.
    Set { compare: Comparison, float: bool, d: Slot, a: Slot, b: Slot },
    Select { d: Slot, a: Slot, b: Slot, p: Slot },
    Select64 { d: Slot, a: Slot, b: Slot, p: Slot },
    Logic { f: Logic, d: Slot, a: Slot, b: Slot },
    NotPred { d: Slot, a: Slot },
    /// Tells whether a generic address lies in a space.
    IsSpace { space: Space, d: Slot, a: Slot },
    Float { f: Float2, mode: Mode, d: Slot, a: Slot, b: Slot },
    FloatUnary { f: Float1, mode: Mode, d: Slot, a: Slot },
    Fma { mode: Mode, d: Slot, a: Slot, b: Slot, c: Slot },
    Float64 { f: Float2, d: Slot, a: Slot, b: Slot },
    Unary64 { f: Float1, d: Slot, a: Slot },
    /// The `.approx.ftz.f64` reciprocals: the low half of the result is zero.
    Approx64 { f: Float1, d: Slot, a: Slot },
    Fma64 { d: Slot, a: Slot, b: Slot, c: Slot },
    /// On one float of 16 bits or on a pair of them; operands that `f` does not have repeat `a`.
    Half { f: Half, mode: HalfMode, d: Slot, a: Slot, b: Slot, c: Slot },
    /// Rounded to `round`, which is not to nearest; operands that `f` does not have repeat `a`.
    Directed64 { f: Exact64, round: Round, d: Slot, a: Slot, b: Slot, c: Slot },
    Words { f: WordOp, d: Slot, a: Slot, b: Slot, c: Slot },
    TestFloat { f: FloatClass, double: bool, d: Slot, a: Slot },
    /// Gives `ones` where the comparison and `combine` hold; for pairs, in each half.
    SetAny { compare: Comparison, ones: u32, d: Slot, a: Slot, b: Slot, combine: Option<Combine> },
    /// Compares pairs; `d` is the result of the low halves, `q` that of the high ones.
    SetPredPair { compare: Comparison, d: Slot, q: Slot, a: Slot, b: Slot, combine: Option<Combine> },
    Convert { convert: Convert, d: Slot, a: Slot },
    /// Converts two f32 to a pair; `high` is the first operand.
    ConvertPair { how: ToSmall, d: Slot, high: Slot, low: Slot },
    /// Converts between generic addresses and those of a space (`to`: to the space).
    Generic { space: Space, to: bool, d: Slot, a: Slot },
    Load(MemoryAccess),
    Store(MemoryAccess),
    Atomic(AtomicAccess),
    CopyAsync(AsyncCopy),
    CopyCommit,
    /// Waits for all but the newest `pending` groups; `None` waits for every copy.
    CopyWait { pending: Option<u32> },
    /// The instruction of this number in [`Program::extended`](crate::program::Program::extended).
    Extended { index: u32 },
    /// Without a count, all threads of the block take part; `bar.arrive` does not wait.
    Barrier { id: Slot, count: Option<Slot>, wait: bool },
    BarrierReduce { f: BarrierReduce, id: Slot, count: Option<Slot>, d: Slot, p: Slot, negated: bool },
    WarpBarrier { mask: Slot },
    /// Releases what the thread did before, and lets it acquire what it has read.
    Fence(MemoryOrder),
    Shuffle { mode: ShuffleMode, d: Slot, p: Option<Slot>, a: Slot, lane: Slot, clamp: Slot, mask: Slot },
    Vote { f: VoteMode, d: Slot, p: Slot, negated: bool, mask: Slot },
    Match { all: bool, ty: Type, d: Slot, p: Option<Slot>, a: Slot, mask: Slot },
    Redux { f: Atomic, signed: bool, d: Slot, a: Slot, mask: Slot },
    ActiveMask { d: Slot },
    Clock { double: bool, d: Slot },
    Branch { target: u32 },
    /// Calls a function that lies out of line: that of `calls[site]`, or the one at the address in `a`.
    Call { site: u32, a: Slot },
    /// Returns from a function that lies out of line.
    Return,
    /// Calls what a driver provides: `system_calls[call]`.
    System { call: u32 },
    /// Jumps to `tables[table][a]`.
    BranchTable { table: u32, a: Slot },
    Exit,
    Trap,
}

/// How an instruction uses a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
}
