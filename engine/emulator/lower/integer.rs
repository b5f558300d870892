//! Whole numbers, bits and predicates.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use super::words::permutation;
use crate::isa::{BitCount, Int1, Int2, Logic, Op, Shift, WordOp};
use crate::meter::Class;
use crate::syntax::Instruction;
use crate::types::Type;

/// The part of a product that an instruction gives.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    Low,
    High,
    Both,
}

impl<'t> Builder<'t, '_> {
    /// Arithmetic, logic and shifts of whole numbers.
    pub(super) fn integer(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let name = m.name;
        match name {
            "add" | "sub" if m.takes("cc") => self.carry(i, m, false, true),
            "addc" | "subc" => {
                let write = m.takes("cc");
                self.carry(i, m, true, write)
            }
            "madc" => {
                let write = m.takes("cc");
                self.mad_carry(i, m, true, write)
            }
            "mad" if m.takes("cc") => self.mad_carry(i, m, false, true),
            "add" | "sub" | "mad" if m.takes("sat") => self.saturating(i, m),
            "min" | "max" if m.takes("relu") => self.relu(i, m),
            "mad" => self.mad(i, m),
            "mul" => self.mul(i, m),
            "add" => self.int2(i, m, Int2::Add),
            "sub" => self.int2(i, m, Int2::Sub),
            "div" => self.int2(i, m, Int2::Div),
            "rem" => self.int2(i, m, Int2::Rem),
            "min" => self.int2(i, m, Int2::Min),
            "max" => self.int2(i, m, Int2::Max),
            "and" | "or" | "xor" => self.logic(i, m),
            "not" => self.not(i, m),
            "cnot" => self.int1(i, m, Int1::CNot),
            "neg" => self.int1(i, m, Int1::Neg),
            "abs" => self.int1(i, m, Int1::Abs),
            "brev" => self.int1(i, m, Int1::Brev),
            "popc" => self.count(i, m, BitCount::Popc),
            "clz" => self.count(i, m, BitCount::Clz),
            "bfind" => {
                let shift = m.takes("shiftamt");
                self.count(i, m, BitCount::Bfind { shift })
            }
            "shl" => self.shift(i, m, true),
            "shr" => self.shift(i, m, false),
            "sad" | "bfe" => self.three(i, m),
            "bfi" => self.bfi(i, m),
            "prmt" | "shf" | "lop3" | "dp4a" => self.words(i, m),
            _ => self.unsupported(i),
        }
    }

    /// Takes the last modifier, which has to be a whole-number type of 16, 32 or 64 bits.
    fn int_type(&self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<Type> {
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty.integer() && ty.bits() >= 16 { Ok(ty) } else { self.unsupported(i) }
    }

    fn int2(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>, f: Int2) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let d = self.dst(d, ty)?;
        let class = if matches!(f, Int2::Div | Int2::Rem) { Class::IntegerDivide } else { Class::Integer };
        self.emit(i, class, Op::Int { f, ty, d, a, b })
    }

    fn int1(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>, f: Int1) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        let [d, a] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Integer, Op::Unary { f, ty, d, a })
    }

    fn count(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>, f: BitCount) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        if ty.bits() == 16 {
            return self.unsupported(i);
        }
        let [d, a] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let d = self.dst(d, Type::U32)?;
        self.emit(i, Class::Integer, Op::Count { f, ty, d, a })
    }

    fn shift(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>, left: bool) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, Type::U32)?);
        let d = self.dst(d, ty)?;
        let f = match (left, ty.signed()) {
            (true, _) => Shift::Left,
            (false, false) => Shift::Right,
            (false, true) => Shift::RightSigned,
        };
        self.emit(i, Class::Integer, Op::Shift { f, ty, d, a, b })
    }

    /// Takes the half of a product (`.lo`, `.hi` or `.wide` for both) and its type.
    fn product(&self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<(Half, Type)> {
        let (wide, high, low) = (m.takes("wide"), m.takes("hi"), m.takes("lo"));
        let ty = self.int_type(i, m)?;
        match (wide, high, low) {
            (true, false, false) if ty.bits() < 64 => Ok((Half::Both, ty)),
            (false, true, false) => Ok((Half::High, ty)),
            (false, false, true) => Ok((Half::Low, ty)),
            _ => self.unsupported(i),
        }
    }

    /// `mul`
    fn mul(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let (half, ty) = self.product(i, m)?;
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let op = match half {
            Half::Both => Op::MulWide { ty, d: self.dst(d, twice(ty))?, a, b },
            Half::High => Op::Int { f: Int2::MulHi, ty, d: self.dst(d, ty)?, a, b },
            Half::Low => Op::Int { f: Int2::Mul, ty, d: self.dst(d, ty)?, a, b },
        };
        self.emit(i, Class::IntegerMul, op)
    }

    /// `mad`
    fn mad(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let (half, ty) = self.product(i, m)?;
        let [d, a, b, c] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let result = if half == Half::Both { twice(ty) } else { ty };
        let c = self.src(c, result)?;
        let d = self.dst(d, result)?;
        let op = match half {
            Half::Both => Op::MadWide { ty, d, a, b, c },
            _ => Op::Mad { high: half == Half::High, ty, d, a, b, c },
        };
        self.emit(i, Class::IntegerMul, op)
    }

    /// `add`, `sub`, `addc` and `subc` with the carry flag.
    fn carry(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>, read: bool, write: bool) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        if ty.bits() < 32 {
            return self.unsupported(i);
        }
        let subtract = m.name.starts_with("sub");
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Integer, Op::Carry { subtract, ty, read, write, d, a, b })
    }

    /// `mad` and `madc` with the carry flag.
    fn mad_carry(
        &mut self,
        i: &Instruction<'t>,
        m: &mut Modifiers<'t>,
        read: bool,
        write: bool,
    ) -> Lowered<()> {
        let (high, low) = (m.takes("hi"), m.takes("lo"));
        let ty = self.int_type(i, m)?;
        if high == low || ty.bits() < 32 {
            return self.unsupported(i);
        }
        let [d, a, b, c] = self.operands(i)?;
        let (a, b, c) = (self.src(a, ty)?, self.src(b, ty)?, self.src(c, ty)?);
        let d = self.dst(d, ty)?;
        self.emit(i, Class::IntegerMul, Op::MadCarry { high, ty, read, write, d, a, b, c })
    }

    /// `and`, `or` and `xor`, of numbers or of predicates.
    fn logic(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let (int, f) = match m.name {
            "and" => (Int2::And, Logic::And),
            "or" => (Int2::Or, Logic::Or),
            _ => (Int2::Xor, Logic::Xor),
        };
        if !m.takes("pred") {
            return self.int2(i, m, int);
        }
        self.done(i, m)?;
        let [d, a, b] = self.operands(i)?;
        let ((a, false), (b, false)) = (self.pred(a)?, self.pred(b)?) else { return self.unsupported(i) };
        let d = self.dst(d, Type::Pred)?;
        self.emit(i, Class::Integer, Op::Logic { f, d, a, b })
    }

    /// `not`, of a number or of a predicate.
    fn not(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if !m.takes("pred") {
            return self.int1(i, m, Int1::Not);
        }
        self.done(i, m)?;
        let [d, a] = self.operands(i)?;
        let (a, false) = self.pred(a)? else { return self.unsupported(i) };
        let d = self.dst(d, Type::Pred)?;
        self.emit(i, Class::Integer, Op::NotPred { d, a })
    }

    /// `sad d, a, b, c` and `bfe d, a, b, c`
    fn three(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        let [d, a, b, c] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let op = if m.name == "sad" {
            let (b, c) = (self.src(b, ty)?, self.src(c, ty)?);
            Op::Sad { ty, d: self.dst(d, ty)?, a, b, c }
        } else {
            if ty.bits() == 16 {
                return self.unsupported(i);
            }
            let (b, c) = (self.src(b, Type::U32)?, self.src(c, Type::U32)?);
            Op::Bfe { ty, d: self.dst(d, ty)?, a, b, c }
        };
        self.emit(i, Class::Integer, op)
    }

    fn bfi(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        if ty.bits() == 16 {
            return self.unsupported(i);
        }
        let [d, a, b, c, e] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let (c, e) = (self.src(c, Type::U32)?, self.src(e, Type::U32)?);
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Integer, Op::Bfi { ty, d, a, b, c, e })
    }

    /// Operations of three 32-bit words: `prmt`, `shf`, `lop3` and `dp4a`.
    fn words(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let u = Type::B32;
        if m.name == "lop3" {
            return self.lop3(i, m);
        }
        let [d, a, b, c] = self.operands(i)?;
        let (a, b, c) = (self.src(a, u)?, self.src(b, u)?, self.src(c, u)?);
        let d = self.dst(d, u)?;
        let name = m.name;
        match name {
            "prmt" if m.takes("b32") => {
                let mode = m.find(permutation);
                self.done(i, m)?;
                let op = match mode {
                    Some(mode) => Op::Words { f: WordOp::Permute(mode), d, a, b, c },
                    None => Op::Prmt { d, a, b, c },
                };
                self.emit(i, Class::Integer, op)
            }
            "shf" => {
                let (left, right) = (m.takes("l"), m.takes("r"));
                let (wrap, clamp) = (m.takes("wrap"), m.takes("clamp"));
                if left == right || wrap == clamp || !m.takes("b32") {
                    return self.unsupported(i);
                }
                self.done(i, m)?;
                self.emit(i, Class::Integer, Op::Funnel { left, wrap, d, a, b, c })
            }
            "dp4a" => {
                let a_type = self.ty(i, m)?;
                let b_type = self.ty(i, m)?;
                self.done(i, m)?;
                let word = |ty| matches!(ty, Type::U32 | Type::S32);
                if !word(a_type) || !word(b_type) {
                    return self.unsupported(i);
                }
                let (a_signed, b_signed) = (a_type.signed(), b_type.signed());
                self.emit(i, Class::IntegerMul, Op::Dp4a { a_signed, b_signed, d, a, b, c })
            }
            _ => self.unsupported(i),
        }
    }
}

/// The type of a product in twice the width.
fn twice(ty: Type) -> Type {
    match ty {
        Type::U16 | Type::B16 => Type::U32,
        Type::S16 => Type::S32,
        Type::S32 => Type::S64,
        _ => Type::U64,
    }
}
