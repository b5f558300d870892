//! Whole numbers, bits, predicates, comparisons, selections and moves.

use super::modifiers::Mods;
use super::{Builder, Lowered};
use crate::isa::{Combine, Compare, Comparison, Count, Int1, Int2, Logic, Op, Shift};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{File, Type};

impl<'t> Builder<'t, '_> {
    pub(super) fn integer(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
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
            "popc" => self.count(i, m, Count::Popc),
            "clz" => self.count(i, m, Count::Clz),
            "bfind" => {
                let shift = m.takes("shiftamt");
                self.count(i, m, Count::Bfind { shift })
            }
            "shl" => self.shift(i, m, true),
            "shr" => self.shift(i, m, false),
            "sad" | "bfe" => self.three(i, m),
            "bfi" => self.bfi(i, m),
            "prmt" | "shf" | "lop3" | "dp4a" => self.words(i, m),
            _ => self.unsupported(i),
        }
    }

    /// A whole-number type of 16, 32 or 64 bits.
    fn int_type(&self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<Type> {
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty.integer() && ty.bits() >= 16 { Ok(ty) } else { self.unsupported(i) }
    }

    fn int2(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>, f: Int2) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let d = self.dst(d, ty)?;
        let class = if matches!(f, Int2::Div | Int2::Rem) { Class::IntegerDivide } else { Class::Integer };
        self.emit(i, class, Op::Int { f, ty, d, a, b })
    }

    fn int1(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>, f: Int1) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        let [d, a] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Integer, Op::Unary { f, ty, d, a })
    }

    fn count(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>, f: Count) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        if ty.bits() == 16 {
            return self.unsupported(i);
        }
        let [d, a] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let d = self.dst(d, Type::U32)?;
        self.emit(i, Class::Integer, Op::Count { f, ty, d, a })
    }

    fn shift(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>, left: bool) -> Lowered<()> {
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

    /// `mul.lo`, `mul.hi`, `mul.wide`
    fn mul(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let (wide, high, low) = (m.takes("wide"), m.takes("hi"), m.takes("lo"));
        let ty = self.int_type(i, m)?;
        if !(wide ^ high ^ low) || wide && ty.bits() == 64 {
            return self.unsupported(i);
        }
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        if wide {
            let d = self.dst(d, twice(ty))?;
            return self.emit(i, Class::IntegerMul, Op::MulWide { ty, d, a, b });
        }
        let d = self.dst(d, ty)?;
        let f = if high { Int2::MulHi } else { Int2::Mul };
        self.emit(i, Class::IntegerMul, Op::Int { f, ty, d, a, b })
    }

    fn mad(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let (wide, high, low) = (m.takes("wide"), m.takes("hi"), m.takes("lo"));
        let ty = self.int_type(i, m)?;
        if !(wide ^ high ^ low) || wide && ty.bits() == 64 {
            return self.unsupported(i);
        }
        let [d, a, b, c] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let result = if wide { twice(ty) } else { ty };
        let c = self.src(c, result)?;
        let d = self.dst(d, result)?;
        let op = if wide { Op::MadWide { ty, d, a, b, c } } else { Op::Mad { high, ty, d, a, b, c } };
        self.emit(i, Class::IntegerMul, op)
    }

    fn carry(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>, read: bool, write: bool) -> Lowered<()> {
        let ty = self.int_type(i, m)?;
        if ty.bits() != 32 {
            return self.unsupported(i);
        }
        let subtract = m.name.starts_with("sub");
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Integer, Op::Carry { subtract, read, write, d, a, b })
    }

    fn mad_carry(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>, read: bool, write: bool) -> Lowered<()> {
        let (high, low) = (m.takes("hi"), m.takes("lo"));
        let ty = self.int_type(i, m)?;
        if high == low || ty.bits() != 32 {
            return self.unsupported(i);
        }
        let [d, a, b, c] = self.operands(i)?;
        let (a, b, c) = (self.src(a, ty)?, self.src(b, ty)?, self.src(c, ty)?);
        let d = self.dst(d, ty)?;
        self.emit(i, Class::IntegerMul, Op::MadCarry { high, ty, read, write, d, a, b, c })
    }

    fn logic(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
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

    fn not(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
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
    fn three(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
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

    fn bfi(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
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

    /// Three 32-bit words to one.
    fn words(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let u = Type::B32;
        if m.name == "lop3" {
            if !m.takes("b32") {
                return self.unsupported(i);
            }
            self.done(i, m)?;
            let [d, a, b, c, Operand::Int(table)] = self.operands(i)? else { return self.unsupported(i) };
            let (a, b, c) = (self.src(a, u)?, self.src(b, u)?, self.src(c, u)?);
            let d = self.dst(d, u)?;
            return self.emit(i, Class::Integer, Op::Lop3 { table: *table as u8, d, a, b, c });
        }
        let [d, a, b, c] = self.operands(i)?;
        let (a, b, c) = (self.src(a, u)?, self.src(b, u)?, self.src(c, u)?);
        let d = self.dst(d, u)?;
        let name = m.name;
        match name {
            "prmt" if m.takes("b32") => {
                self.done(i, m)?;
                self.emit(i, Class::Integer, Op::Prmt { d, a, b, c })
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
                let (a_signed, b_signed) = (a_type.signed(), b_type.signed());
                self.emit(i, Class::IntegerMul, Op::Dp4a { a_signed, b_signed, d, a, b, c })
            }
            _ => self.unsupported(i),
        }
    }

    pub(super) fn compare(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let Some(mut f) = m.find(comparison) else { return self.unsupported(i) };
        let logic = m.find(|p| {
            Some(match p {
                "and" => Logic::And,
                "or" => Logic::Or,
                "xor" => Logic::Xor,
                _ => return None,
            })
        });
        let ftz = m.takes("ftz");
        if m.name == "set" {
            let result = self.ty(i, m)?;
            let ty = self.ty(i, m)?;
            self.done(i, m)?;
            if logic.is_some() || !matches!(result, Type::U32 | Type::S32 | Type::F32) || ty.bits() < 16 {
                return self.unsupported(i);
            }
            f = ordered(f, ty);
            let [d, a, b] = self.operands(i)?;
            let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
            let d = self.dst(d, result)?;
            let class = class_of(ty);
            return self.emit(
                i,
                class,
                Op::Set { compare: Comparison { f, ty, ftz }, float: result == Type::F32, d, a, b },
            );
        }
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty.bits() < 16 || matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2) {
            return self.unsupported(i);
        }
        f = ordered(f, ty);
        let (d, a, b, combine) = match (i.operands.as_slice(), logic) {
            ([d, a, b], None) => (d, a, b, None),
            ([d, a, b, c], Some(logic)) => {
                let (p, negated) = self.pred(c)?;
                (d, a, b, Some(Combine { logic, p, negated }))
            }
            _ => return self.fail(format!("`{}` with a wrong number of operands", i.opcode)),
        };
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let (d, q) = match d {
            Operand::Pair(d, q) => {
                let q = self.dst(&Operand::Name(q, 0), Type::Pred)?;
                (self.dst(&Operand::Name(d, 0), Type::Pred)?, Some(q))
            }
            _ => (self.dst(d, Type::Pred)?, None),
        };
        self.emit(i, class_of(ty), Op::SetPred { compare: Comparison { f, ty, ftz }, d, q, a, b, combine })
    }

    pub(super) fn select(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty.bits() < 16 {
            return self.unsupported(i);
        }
        let [d, a, b, p] = self.operands(i)?;
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let (p, negated) = self.pred(p)?;
        let (a, b) = if negated { (b, a) } else { (a, b) };
        let d = self.dst(d, ty)?;
        let op = if ty.bits() == 64 { Op::Select64 { d, a, b, p } } else { Op::Select { d, a, b, p } };
        self.emit(i, Class::Integer, op)
    }

    pub(super) fn mov(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        let [d, a] = self.operands(i)?;
        let op = match (d, a) {
            (Operand::Vector(parts), a) => return self.unpack(i, ty, parts, a),
            (d, Operand::Vector(parts)) => return self.pack(i, ty, d, parts),
            (d, Operand::Name("%clock" | "%clock_hi", 0)) => Op::Clock { double: false, d: self.dst(d, ty)? },
            (d, Operand::Name("%clock64" | "%globaltimer", 0)) => {
                Op::Clock { double: true, d: self.dst(d, ty)? }
            }
            // Constants are words: a constant predicate is one compared with zero.
            (d, &Operand::Int(n)) if ty == Type::Pred => {
                let (a, b) = (self.constant(File::Word, n & 1), self.constant(File::Word, 0));
                let d = self.dst(d, ty)?;
                let compare = Comparison { f: Compare::Ne, ty: Type::U32, ftz: false };
                Op::SetPred { compare, d, q: None, a, b, combine: None }
            }
            (d, a) => {
                let a = self.src(a, ty)?;
                let d = self.dst(d, ty)?;
                match ty.file() {
                    File::Pred => Op::MovePred { d, a },
                    File::Word => Op::Move { d, a },
                    File::Double => Op::Move64 { d, a },
                }
            }
        };
        self.emit(i, Class::Move, op)
    }

    /// `mov.b64 d, {a, b}`
    fn pack(&mut self, i: &Instruction<'t>, ty: Type, d: &Operand<'t>, parts: &[Operand<'t>]) -> Lowered<()> {
        let op = match (parts, ty.bits()) {
            ([low, high], 64) => {
                let (low, high) = (self.src(low, Type::B32)?, self.src(high, Type::B32)?);
                Op::Pack64 { d: self.dst(d, ty)?, low, high }
            }
            ([low, high], 32) => {
                let (low, high) = (self.src(low, Type::B16)?, self.src(high, Type::B16)?);
                Op::Pack32 { d: self.dst(d, ty)?, low, high }
            }
            ([p0, p1, p2, p3], 64) => {
                let mut halves = [0; 2];
                for (half, (low, high)) in halves.iter_mut().zip([(p0, p1), (p2, p3)]) {
                    let (low, high) = (self.src(low, Type::B16)?, self.src(high, Type::B16)?);
                    *half = self.new_slot(File::Word);
                    self.emit(i, Class::Move, Op::Pack32 { d: *half, low, high })?;
                }
                Op::Pack64 { d: self.dst(d, ty)?, low: halves[0], high: halves[1] }
            }
            _ => return self.unsupported(i),
        };
        self.emit(i, Class::Move, op)
    }

    /// `mov.b64 {a, b}, s`
    fn unpack(
        &mut self,
        i: &Instruction<'t>,
        ty: Type,
        parts: &[Operand<'t>],
        a: &Operand<'t>,
    ) -> Lowered<()> {
        let a = self.src(a, ty)?;
        let op = match (parts, ty.bits()) {
            ([low, high], 64) => {
                let (low, high) = (self.dst(low, Type::B32)?, self.dst(high, Type::B32)?);
                Op::Unpack64 { low, high, a }
            }
            ([low, high], 32) => {
                let (low, high) = (self.dst(low, Type::B16)?, self.dst(high, Type::B16)?);
                Op::Unpack32 { low, high, a }
            }
            ([p0, p1, p2, p3], 64) => {
                let (low, high) = (self.new_slot(File::Word), self.new_slot(File::Word));
                self.emit(i, Class::Move, Op::Unpack64 { low, high, a })?;
                let (p0, p1) = (self.dst(p0, Type::B16)?, self.dst(p1, Type::B16)?);
                self.emit(i, Class::Move, Op::Unpack32 { low: p0, high: p1, a: low })?;
                let (p2, p3) = (self.dst(p2, Type::B16)?, self.dst(p3, Type::B16)?);
                Op::Unpack32 { low: p2, high: p3, a: high }
            }
            _ => return self.unsupported(i),
        };
        self.emit(i, Class::Move, op)
    }
}

fn class_of(ty: Type) -> Class {
    match ty {
        Type::F64 => Class::Double,
        ty if ty.float() => Class::Float,
        _ => Class::Integer,
    }
}

fn twice(ty: Type) -> Type {
    match ty {
        Type::U16 | Type::B16 => Type::U32,
        Type::S16 => Type::S32,
        Type::S32 => Type::S64,
        _ => Type::U64,
    }
}

fn comparison(name: &str) -> Option<Compare> {
    Some(match name {
        "eq" => Compare::Eq,
        "ne" => Compare::Ne,
        "lt" | "lo" => Compare::Lt,
        "le" | "ls" => Compare::Le,
        "gt" | "hi" => Compare::Gt,
        "ge" | "hs" => Compare::Ge,
        "equ" => Compare::Equ,
        "neu" => Compare::Neu,
        "ltu" => Compare::Ltu,
        "leu" => Compare::Leu,
        "gtu" => Compare::Gtu,
        "geu" => Compare::Geu,
        "num" => Compare::Num,
        "nan" => Compare::Nan,
        _ => return None,
    })
}

/// Whole numbers have no unordered comparisons; `.lo` and the like are unsigned by their type already.
fn ordered(f: Compare, ty: Type) -> Compare {
    if ty.float() {
        return f;
    }
    match f {
        Compare::Equ => Compare::Eq,
        Compare::Neu => Compare::Ne,
        Compare::Ltu => Compare::Lt,
        Compare::Leu => Compare::Le,
        Compare::Gtu => Compare::Gt,
        Compare::Geu => Compare::Ge,
        f => f,
    }
}
