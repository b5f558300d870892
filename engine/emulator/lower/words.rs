//! Less frequent whole-number instructions: masks, 24-bit products, saturated sums and pairs of halves.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{Combine, Compare, Comparison, Int2, Logic, Op, Permute, Slot, WordOp};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{RegisterFile, Type};

impl<'t> Builder<'t, '_> {
    /// `dp2a`, `bmsk`, `szext`, `fns`, `mul24` and `mad24`
    pub(super) fn rare_words(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let (low, high) = (m.takes("lo"), m.takes("hi"));
        let (wrap, clamp) = (m.takes("wrap"), m.takes("clamp"));
        let sat = m.takes("sat");
        let ty = self.ty(i, m)?;
        let second = m.find(Type::parse);
        self.done(i, m)?;
        let half = low != high;
        let halves = low || high;
        let mode = wrap != clamp;
        let modes = wrap || clamp;
        let number = |ty| matches!(ty, Type::U32 | Type::S32);
        let signed = ty.signed();
        let (f, count, fits) = match (m.name, second) {
            ("dp2a", Some(b)) => {
                let f = WordOp::Dp2a { high, a_signed: signed, b_signed: b.signed() };
                (f, 3, half && !modes && !sat && number(ty) && number(b))
            }
            ("bmsk", None) => (WordOp::Mask { clamp }, 2, mode && !halves && !sat && ty == Type::B32),
            ("szext", None) => (WordOp::Extend { clamp, signed }, 2, mode && !halves && !sat && number(ty)),
            ("fns", None) => (WordOp::FindSet, 3, !modes && !halves && !sat && ty == Type::B32),
            ("mul24", None) => {
                let f = WordOp::Product24 { high, signed, add: false, sat };
                (f, 2, half && !modes && !sat && number(ty))
            }
            ("mad24", None) => {
                let f = WordOp::Product24 { high, signed, add: true, sat };
                (f, 3, half && !modes && (!sat || high && signed) && number(ty))
            }
            _ => return self.unsupported(i),
        };
        if !fits {
            return self.unsupported(i);
        }
        let class = match f {
            WordOp::Dp2a { .. } | WordOp::Product24 { .. } => Class::IntegerMul,
            _ => Class::Integer,
        };
        self.word_op(i, class, f, count)
    }

    /// `add.sat.s32`, `sub.sat.s32` and `mad.hi.sat.s32`
    pub(super) fn saturating(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let (high, signed) = (m.takes("hi"), m.takes("s32"));
        self.done(i, m)?;
        let mad = m.name == "mad";
        if !signed || high != mad {
            return self.unsupported(i);
        }
        if mad {
            return self.word_op(i, Class::IntegerMul, WordOp::MadSat, 3);
        }
        self.word_op(i, Class::Integer, WordOp::AddSat { subtract: m.name == "sub" }, 2)
    }

    /// `min.relu.s32` and `max.relu.s32`
    pub(super) fn relu(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let signed = m.takes("s32");
        self.done(i, m)?;
        if !signed {
            return self.unsupported(i);
        }
        self.word_op(i, Class::Integer, WordOp::Relu { max: m.name == "max" }, 2)
    }

    /// `add`, `min` and `max` of `.u16x2` and `.s16x2`
    pub(super) fn pairs(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let relu = m.takes("relu");
        let (signed, unsigned) = (m.takes("s16x2"), m.takes("u16x2"));
        self.done(i, m)?;
        let f = match m.name {
            "add" => Int2::Add,
            "min" => Int2::Min,
            _ => Int2::Max,
        };
        if signed == unsigned || relu && (f == Int2::Add || unsigned) {
            return self.unsupported(i);
        }
        self.word_op(i, Class::Integer, WordOp::Pairs { f, signed, relu }, 2)
    }

    /// `lop3.b32 d, a, b, c, table` and `lop3.or.b32 d|p, a, b, c, table, q`
    pub(super) fn lop3(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let logic = m.find(|p| match p {
            "and" => Some(Logic::And),
            "or" => Some(Logic::Or),
            _ => None,
        });
        let word = m.takes("b32");
        self.done(i, m)?;
        let (d, p, [a, b, c], table, q) = match (i.operands.as_slice(), logic) {
            ([d, a, b, c, Operand::Int(table)], None) => (d.clone(), None, [a, b, c], *table, None),
            ([Operand::Pair(d, p), a, b, c, Operand::Int(table), q], Some(_)) => {
                (Operand::Name(d, 0), Some(Operand::Name(p, 0)), [a, b, c], *table, Some(q))
            }
            _ => return self.unsupported(i),
        };
        if !word || table > 0xff {
            return self.unsupported(i);
        }
        let u = Type::B32;
        let (a, b, c) = (self.src(a, u)?, self.src(b, u)?, self.src(c, u)?);
        let q = q.map(|q| self.pred(q)).transpose()?;
        let d = self.dst(&d, u)?;
        let op = Op::Lop3 { table: table as u8, d, a, b, c };
        let (Some(p), Some(logic), Some((q, negated))) = (p, logic, q) else {
            return self.emit(i, Class::Integer, op);
        };
        self.emit(i, Class::Integer, op)?;
        let (p, zero) = (self.dst(&p, Type::Pred)?, self.constant(RegisterFile::Word, 0));
        let compare = Comparison { f: Compare::Ne, ty: Type::U32, ftz: false };
        let combine = Some(Combine { logic, p: q, negated });
        self.emit(i, Class::Integer, Op::SetPred { compare, d: p, q: None, a: d, b: zero, combine })
    }

    /// An operation on `count` words.
    pub(super) fn word_op(
        &mut self,
        i: &Instruction<'t>,
        class: Class,
        f: WordOp,
        count: usize,
    ) -> Lowered<()> {
        let [d, sources @ ..] = i.operands.as_slice() else { return self.unsupported(i) };
        if sources.len() != count {
            return self.fail(format!("`{}` needs {count} source operands", i.opcode));
        }
        let mut slots: [Slot; 3] = [0; 3];
        for (slot, source) in slots.iter_mut().zip(sources) {
            *slot = self.src(source, Type::B32)?;
        }
        for k in count..3 {
            slots[k] = slots[0];
        }
        let d = self.dst(d, Type::B32)?;
        let [a, b, c] = slots;
        self.emit(i, class, Op::Words { f, d, a, b, c })
    }
}

/// The mode of `prmt` that a modifier names.
pub(super) fn permutation(name: &str) -> Option<Permute> {
    Some(match name {
        "f4e" => Permute::Forward4,
        "b4e" => Permute::Backward4,
        "rc8" => Permute::Replicate8,
        "ecl" => Permute::EdgeLeft,
        "ecr" => Permute::EdgeRight,
        "rc16" => Permute::Replicate16,
        _ => return None,
    })
}
