//! PTX as it is written: what the parser makes and lowering reads.

use std::fmt;

use crate::fault::ParseError;
use crate::types::{Space, Type};

/// The content of one file.
#[derive(Debug, Default)]
pub(crate) struct ParsedFile<'t> {
    /// The names of source files, by the numbers that `.loc` uses.
    pub sources: Vec<(u64, &'t str)>,
    pub variables: Vec<Variable<'t>>,
    pub functions: Vec<Function<'t>>,
    /// Other names of functions (`.alias`), each before the function's own.
    pub aliases: Vec<(&'t str, &'t str)>,
    /// Initial values that are addresses.
    pub addresses: Vec<AddressValue<'t>>,
    /// Names of the module that cannot be used, and why.
    pub refused: Vec<(&'t str, ParseError)>,
}

/// An initial value that is the address of a variable or of a function, or a part of it.
#[derive(Debug)]
pub(crate) struct AddressValue<'t> {
    /// The number of the variable that holds it, in [`ParsedFile::variables`].
    pub variable: usize,
    /// Where its bytes lie in the variable, and how many there are.
    pub at: usize,
    pub bytes: usize,
    pub name: &'t str,
    /// What is added to the address.
    pub offset: i64,
    /// The bits that are kept, which then move down to bit 0.
    pub mask: u64,
    pub line: u32,
}

/// A kernel (`.entry`) or a function (`.func`).
#[derive(Debug)]
pub(crate) struct Function<'t> {
    pub name: &'t str,
    /// The function is a kernel.
    pub entry: bool,
    pub params: Vec<Variable<'t>>,
    pub returns: Vec<Variable<'t>>,
    /// The block size of `.maxntid` or `.reqntid`.
    pub max_threads: Option<[u32; 3]>,
    /// It is that of `.reqntid`.
    pub exact_threads: bool,
    /// The number of `.minnctapersm`.
    pub min_blocks: Option<u64>,
    /// The number of `.maxnreg`.
    pub max_registers: Option<u64>,
    pub body: Vec<Statement<'t>>,
    /// The first part of the function that could not be read.
    pub refused: Option<ParseError>,
    pub line: u32,
}

/// A variable in memory.
#[derive(Debug, Clone)]
pub(crate) struct Variable<'t> {
    pub name: &'t str,
    pub space: Space,
    pub ty: Type,
    /// The alignment in bytes, a power of two.
    pub align: u32,
    /// The size in bytes; 0 for `.extern .shared name[]`.
    pub bytes: u64,
    /// The first bytes; the others are zeros.
    pub init: Vec<u8>,
}

/// A statement of a function.
#[derive(Debug)]
pub(crate) enum Statement<'t> {
    /// `name:`
    Label(&'t str),
    /// `.reg .f32 %f<3>` declares `%f0 %f1 %f2` by a prefix and a count. Without a count, it declares one name.
    Registers {
        ty: Type,
        /// The elements of each: 1, or 2 or 4 of a vector.
        elements: u32,
        name: &'t str,
        count: Option<u32>,
    },
    Variable(Variable<'t>),
    /// `.loc`: the statements that follow come from this line of a source file.
    Source {
        file: u64,
        line: u32,
    },
    /// `name: .branchtargets a, b, c;`, or `.calltargets`.
    Targets {
        name: &'t str,
        labels: Vec<&'t str>,
    },
    /// `name: .callprototype (returns) _ (params);`
    Prototype(Box<Prototype<'t>>),
    /// `.pragma "used_bytes_mask 0x0f"`: the bytes of the next load that are used.
    UsedBytes(u32),
    Block(Vec<Statement<'t>>),
    Instruction(Instruction<'t>),
}

/// The parameters of what an indirect call may call.
#[derive(Debug)]
pub(crate) struct Prototype<'t> {
    pub name: &'t str,
    pub params: Vec<Variable<'t>>,
    pub returns: Vec<Variable<'t>>,
}

/// The predicate that must hold for an instruction to be executed, or that must not hold if it is negated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard<'t> {
    pub name: &'t str,
    pub negated: bool,
}

/// An instruction.
#[derive(Debug)]
pub(crate) struct Instruction<'t> {
    pub guard: Option<Guard<'t>>,
    /// The opcode with all its modifiers, such as `ld.global.v4.f32`.
    pub opcode: &'t str,
    pub operands: Vec<Operand<'t>>,
    pub line: u32,
}

/// An operand of an instruction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand<'t> {
    /// A register, a special register, a variable or a label, possibly with an offset: `name+8`.
    Name(&'t str, i64),
    /// An element of a vector register that stands for all of them: `%v` is `{%v.x, %v.y}`.
    Part(&'t str, u8),
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
    /// `(a, b)`, which only calls have.
    List(Vec<Operand<'t>>),
}

/// How messages name an operand.
impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name, 0) => write!(f, "`{name}`"),
            Self::Name(name, offset) => write!(f, "`{name}{offset:+}`"),
            Self::Part(name, part) => write!(f, "element {part} of `{name}`"),
            Self::Not(name) => write!(f, "`!{name}`"),
            Self::Int(n) => write!(f, "`{n}`"),
            Self::F32(bits) => write!(f, "`0f{bits:08X}`"),
            Self::F64(bits) => write!(f, "`0d{bits:016X}`"),
            Self::Address(..) => f.write_str("an address"),
            Self::Vector(_) => f.write_str("a vector"),
            Self::Pair(first, second) => write!(f, "`{first}|{second}`"),
            Self::List(_) => f.write_str("a list"),
        }
    }
}
