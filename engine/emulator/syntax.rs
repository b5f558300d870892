//! PTX text as written: what the parser makes and lowering reads.

use crate::types::{Space, Type};

/// One file.
#[derive(Debug, Default)]
pub(crate) struct Text<'t> {
    /// Names by the number `.loc` uses.
    pub sources: Vec<(u64, &'t str)>,
    pub variables: Vec<Variable<'t>>,
    pub functions: Vec<Function<'t>>,
}

/// A `.entry` or `.func`.
#[derive(Debug)]
pub(crate) struct Function<'t> {
    pub name: &'t str,
    pub entry: bool,
    pub params: Vec<Variable<'t>>,
    pub returns: Vec<Variable<'t>>,
    /// `.maxntid`, or `.reqntid` with the flag set.
    pub max_threads: Option<[u32; 3]>,
    pub exact_threads: bool,
    pub body: Vec<Statement<'t>>,
    pub line: u32,
}

/// A variable in memory.
#[derive(Debug, Clone)]
pub(crate) struct Variable<'t> {
    pub name: &'t str,
    pub space: Space,
    pub ty: Type,
    pub align: u32,
    /// 0 for `.extern .shared name[]`.
    pub bytes: u64,
    /// Initial bytes; empty means zeros.
    pub init: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Statement<'t> {
    Label(&'t str),
    /// `.reg .f32 %f<3>` declares `%f0 %f1 %f2`: the prefix and the count. Without a count, one name.
    Registers {
        ty: Type,
        name: &'t str,
        count: Option<u32>,
    },
    Variable(Variable<'t>),
    /// File number, line.
    Source(u64, u32),
    /// `name: .branchtargets a, b, c;`
    Targets {
        name: &'t str,
        labels: Vec<&'t str>,
    },
    Block(Vec<Statement<'t>>),
    Instruction(Instruction<'t>),
}

#[derive(Debug)]
pub(crate) struct Instruction<'t> {
    /// Predicate register, and whether it is negated.
    pub guard: Option<(&'t str, bool)>,
    /// `ld.global.v4.f32`
    pub opcode: &'t str,
    pub operands: Vec<Operand<'t>>,
    pub line: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand<'t> {
    /// A register, a special register, a variable or a label, possibly `name+offset`.
    Name(&'t str, i64),
    /// `!%p`
    Not(&'t str),
    Int(u64),
    F32(u32),
    F64(u64),
    /// `[name+offset]` or `[number]`
    Address(Option<&'t str>, i64),
    /// `{a, b}`
    Vector(Vec<Operand<'t>>),
    /// `%r|%p`
    Pair(&'t str, &'t str),
    /// `(a, b)`, in calls.
    List(Vec<Operand<'t>>),
}
