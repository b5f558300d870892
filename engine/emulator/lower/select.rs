//! Comparisons, selections and moves.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{Combine, Compare, Comparison, Logic, Op, Slot};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{RegisterFile, Type};

impl<'t> Builder<'t, '_> {
    /// `setp` and `set`
    pub(super) fn compare(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
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
        let result = if m.name == "set" { Some(self.ty(i, m)?) } else { None };
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        let brain = matches!(ty, Type::Bf16 | Type::Bf16x2);
        if ty.bits() < 16 || ftz && (brain || ty == Type::F64 || !ty.float()) {
            return self.unsupported(i);
        }
        if !ty.float() && matches!(f, Compare::Num | Compare::Nan) {
            return self.unsupported(i);
        }
        f = ordered(f, ty);
        let (d, a, b, combine) = match (i.operands.as_slice(), logic) {
            ([d, a, b], None) => (d, a, b, None),
            ([d, a, b, c], Some(logic)) => {
                let (p, negated) = self.pred(c)?;
                (d, a, b, Some(Combine { logic, p, negated }))
            }
            _ => return self.fail(format!("`{}` has a wrong number of operands", i.opcode)),
        };
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let compare = Comparison { f, ty, ftz };
        if let Some(result) = result {
            return self.set(i, compare, result, d, [a, b], combine);
        }
        let (d, q) = match d {
            Operand::Pair(d, q) => {
                let q = self.dst(&Operand::Name(q, 0), Type::Pred)?;
                (self.dst(&Operand::Name(d, 0), Type::Pred)?, Some(q))
            }
            _ => (self.dst(d, Type::Pred)?, None),
        };
        let op = match (ty, q) {
            // The second predicate is that of the upper halves.
            (Type::F16x2 | Type::Bf16x2, Some(q)) => Op::SetPredPair { compare, d, q, a, b, combine },
            (Type::F16x2 | Type::Bf16x2, None) | (Type::F16 | Type::Bf16, Some(_)) => {
                return self.unsupported(i);
            }
            _ => Op::SetPred { compare, d, q, a, b, combine },
        };
        self.emit(i, class_of(ty), op)
    }

    /// `set`, whose result is a number: 1.0, or all ones.
    fn set(
        &mut self,
        i: &Instruction<'t>,
        compare: Comparison,
        result: Type,
        d: &Operand<'t>,
        [a, b]: [Slot; 2],
        combine: Option<Combine>,
    ) -> Lowered<()> {
        let ty = compare.ty;
        let (half, pair) = (matches!(ty, Type::F16 | Type::Bf16), matches!(ty, Type::F16x2 | Type::Bf16x2));
        let ones = match result {
            Type::U32 | Type::S32 if pair => 0xffff,
            Type::U32 | Type::S32 => u32::MAX,
            Type::F32 if !half && !pair => 1f32.to_bits(),
            Type::U16 | Type::S16 if half => 0xffff,
            Type::F16 if !pair && ty != Type::Bf16 => 0x3c00,
            Type::Bf16 if !pair => 0x3f80,
            Type::F16x2 if ty == result => 0x3c00,
            Type::Bf16x2 if ty == result => 0x3f80,
            _ => return self.unsupported(i),
        };
        let d = self.dst(d, result)?;
        let op = if combine.is_none() && !pair && result.bits() == 32 {
            Op::Set { compare, float: result == Type::F32, d, a, b }
        } else {
            Op::SetAny { compare, ones, d, a, b, combine }
        };
        self.emit(i, class_of(ty), op)
    }

    /// `slct d, a, b, c`: `a` where `c` is not negative.
    pub(super) fn select_by_sign(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let ftz = m.takes("ftz");
        let ty = self.ty(i, m)?;
        let by = self.ty(i, m)?;
        self.done(i, m)?;
        let half = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
        if ty.bits() < 16 || half || !(by == Type::S32 && !ftz || by == Type::F32) {
            return self.unsupported(i);
        }
        let [d, a, b, c] = self.operands(i)?;
        let (a, b, c) = (self.src(a, ty)?, self.src(b, ty)?, self.src(c, by)?);
        let d = self.dst(d, ty)?;
        let (zero, p) = (self.constant(RegisterFile::Word, 0), self.new_slot(RegisterFile::Pred));
        let compare = Comparison { f: Compare::Ge, ty: by, ftz };
        let test = Op::SetPred { compare, d: p, q: None, a: c, b: zero, combine: None };
        self.emit(i, class_of(by), test)?;
        let op = if ty.bits() == 64 { Op::Select64 { d, a, b, p } } else { Op::Select { d, a, b, p } };
        self.emit(i, Class::Integer, op)
    }

    /// `selp`
    pub(super) fn select(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
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

    /// `mov`, which also packs and unpacks registers and reads the clock.
    pub(super) fn mov(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        let [d, a] = self.operands(i)?;
        self.mov_of(i, ty, d, a)
    }

    /// A destination of a special register that has `bits`.
    fn dst_of(&mut self, d: &Operand<'t>, ty: Type, bits: u32) -> Lowered<Slot> {
        if ty.bits() != bits {
            return self.fail(format!("the special register has {bits} bits"));
        }
        self.dst(d, ty)
    }

    /// `mov`, with its type and its operands.
    fn mov_of(&mut self, i: &Instruction<'t>, ty: Type, d: &Operand<'t>, a: &Operand<'t>) -> Lowered<()> {
        let op = match (d, a) {
            (Operand::Vector(parts), a) => return self.unpack(i, ty, parts, a),
            (d, Operand::Vector(parts)) => return self.pack(i, ty, d, parts),
            (d, Operand::Name("%clock" | "%globaltimer_lo", 0)) => {
                Op::Clock { double: false, d: self.dst_of(d, ty, 32)? }
            }
            (d, Operand::Name("%clock_hi" | "%globaltimer_hi", 0)) => {
                let (a, low) = (self.new_slot(RegisterFile::Double), self.new_slot(RegisterFile::Word));
                self.emit(i, Class::Move, Op::Clock { double: true, d: a })?;
                Op::Unpack64 { low, high: self.dst_of(d, ty, 32)?, a }
            }
            (d, Operand::Name("%clock64" | "%globaltimer", 0)) => {
                Op::Clock { double: true, d: self.dst_of(d, ty, 64)? }
            }
            (d, Operand::Name("%gridid", 0)) if ty.bits() == 64 => {
                let low = self.src(a, Type::U32)?;
                let high = self.constant(RegisterFile::Word, 0);
                Op::Pack64 { d: self.dst(d, ty)?, low, high }
            }
            // A launch has no clusters but those of one block.
            (d, Operand::Name("%is_explicit_cluster", 0)) if ty == Type::Pred => {
                return self.mov_of(i, ty, d, &Operand::Int(0));
            }
            // Constants are words, so a constant predicate is a word that is compared with zero.
            (d, &Operand::Int(n)) if ty == Type::Pred => {
                let (a, b) = (self.constant(RegisterFile::Word, n & 1), self.constant(RegisterFile::Word, 0));
                let d = self.dst(d, ty)?;
                let compare = Comparison { f: Compare::Ne, ty: Type::U32, ftz: false };
                Op::SetPred { compare, d, q: None, a, b, combine: None }
            }
            (d, a) => {
                let a = self.src(a, ty)?;
                let d = self.dst(d, ty)?;
                match ty.file() {
                    RegisterFile::Pred => Op::MovePred { d, a },
                    RegisterFile::Word => Op::Move { d, a },
                    RegisterFile::Double => Op::Move64 { d, a },
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
                    *half = self.new_slot(RegisterFile::Word);
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
                let (low, high) = (self.new_slot(RegisterFile::Word), self.new_slot(RegisterFile::Word));
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

/// The class of a comparison.
fn class_of(ty: Type) -> Class {
    match ty {
        Type::F64 => Class::Double,
        Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => Class::Bf16,
        ty if ty.float() => Class::Float,
        _ => Class::Integer,
    }
}

/// The comparison that a modifier names.
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

/// The comparison for a type: whole numbers have no unordered ones. `.lo` and the like need no case, because their type is
/// unsigned already.
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
