//! Instructions that the lanes of a warp execute together: shuffles, votes, matches and reductions.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{Atomic, Op, ShuffleMode, Slot, VoteMode};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::Type;

impl<'t> Builder<'t, '_> {
    /// A destination register and perhaps a predicate: `%r|%p`.
    fn pair(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<(Slot, Option<Slot>)> {
        match operand {
            Operand::Pair(d, p) => {
                let p = if *p == "_" { None } else { Some(self.pred_named(p)?) };
                Ok((self.dst(&Operand::Name(d, 0), ty)?, p))
            }
            _ => Ok((self.dst(operand, ty)?, None)),
        }
    }

    /// `shfl.sync`
    pub(super) fn shuffle(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let mode = m.find(|p| {
            Some(match p {
                "up" => ShuffleMode::Up,
                "down" => ShuffleMode::Down,
                "bfly" => ShuffleMode::Bfly,
                "idx" => ShuffleMode::Idx,
                _ => return None,
            })
        });
        let (Some(mode), true, true) = (mode, m.takes("sync"), m.takes("b32")) else {
            return self.unsupported(i);
        };
        self.done(i, m)?;
        let [d, a, lane, clamp, mask] = self.operands(i)?;
        let a = self.src(a, Type::B32)?;
        let lane = self.src(lane, Type::B32)?;
        let clamp = self.src(clamp, Type::B32)?;
        let mask = self.src(mask, Type::B32)?;
        let (d, p) = self.pair(d, Type::B32)?;
        self.emit(i, Class::Shuffle, Op::Shuffle { mode, d, p, a, lane, clamp, mask })
    }

    /// `vote.sync`
    pub(super) fn vote(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let f = m.find(|p| {
            Some(match p {
                "all" => VoteMode::All,
                "any" => VoteMode::Any,
                "uni" => VoteMode::Uni,
                "ballot" => VoteMode::Ballot,
                _ => return None,
            })
        });
        let (Some(f), true) = (f, m.takes("sync")) else { return self.unsupported(i) };
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty != (if f == VoteMode::Ballot { Type::B32 } else { Type::Pred }) {
            return self.unsupported(i);
        }
        let [d, p, mask] = self.operands(i)?;
        let (p, negated) = self.pred(p)?;
        let mask = self.src(mask, Type::B32)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Vote, Op::Vote { f, d, p, negated, mask })
    }

    /// `match.sync`
    pub(super) fn matching(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let all = m.takes("all");
        if !(all || m.takes("any")) || !m.takes("sync") {
            return self.unsupported(i);
        }
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if !matches!(ty, Type::B32 | Type::B64) {
            return self.unsupported(i);
        }
        let [d, a, mask] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let mask = self.src(mask, Type::B32)?;
        let (d, p) = self.pair(d, Type::B32)?;
        self.emit(i, Class::Vote, Op::Match { all, ty, d, p, a, mask })
    }

    /// `redux.sync`
    pub(super) fn redux(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let f = m.find(|p| {
            Atomic::parse(p).filter(|f| !matches!(f, Atomic::Exch | Atomic::Inc | Atomic::Dec | Atomic::Cas))
        });
        let (Some(f), true) = (f, m.takes("sync")) else { return self.unsupported(i) };
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if !matches!(ty, Type::B32 | Type::U32 | Type::S32) {
            return self.unsupported(i);
        }
        let [d, a, mask] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let mask = self.src(mask, Type::B32)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Shuffle, Op::Redux { f, signed: ty == Type::S32, d, a, mask })
    }
}
