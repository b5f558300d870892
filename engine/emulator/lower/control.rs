//! Branches, returns and barriers.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use super::names::Name;
use crate::isa::{BarrierReduce, Op};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::Type;

impl<'t> Builder<'t, '_> {
    /// `bra`
    pub(super) fn branch(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        m.takes("uni");
        self.done(i, m)?;
        let [target] = self.operands(i)?;
        let target = self.label(target)?;
        self.emit(i, Class::Control, Op::Branch { target })
    }

    /// `brx.idx`
    pub(super) fn branch_table(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if !m.takes("idx") {
            return self.unsupported(i);
        }
        m.takes("uni");
        self.done(i, m)?;
        let [index, table] = self.operands(i)?;
        let a = self.src(index, Type::U32)?;
        let labels = match table {
            Operand::Name(name, 0) => match self.lookup(name)? {
                Some(Name::Targets(labels)) => labels,
                _ => return self.fail(format!("`{name}` is not a list of branch targets")),
            },
            _ => return self.fail("a list of branch targets is needed here"),
        };
        let targets = labels.iter().map(|l| self.label(&Operand::Name(l, 0))).collect::<Lowered<Vec<_>>>()?;
        self.program.tables.push(targets);
        let table = self.program.tables.len() as u32 - 1;
        self.emit(i, Class::Control, Op::BranchTable { table, a })
    }

    /// `ret`, which jumps to the end of an inlined call.
    pub(super) fn ret(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        m.takes("uni");
        self.done(i, m)?;
        let op = match self.calls.last() {
            Some(call) => Op::Branch { target: call.end as u32 },
            None if self.frame.is_some() => Op::Return,
            None => Op::Exit,
        };
        self.emit(i, Class::Control, op)
    }

    /// `exit` and `trap`
    pub(super) fn end(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        self.done(i, m)?;
        let [] = self.operands(i)?;
        self.emit(i, Class::Control, if m.name == "exit" { Op::Exit } else { Op::Trap })
    }

    /// `bar` and `barrier`
    pub(super) fn barrier(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if m.takes("cluster") {
            return self.cluster_barrier(i, m);
        }
        m.takes("cta");
        if m.takes("warp") {
            m.takes("sync");
            self.done(i, m)?;
            let [mask] = self.operands(i)?;
            let mask = self.src(mask, Type::B32)?;
            return self.emit(i, Class::Barrier, Op::WarpBarrier { mask });
        }
        m.takes("aligned");
        if m.takes("red") {
            m.takes("aligned");
            return self.barrier_reduce(i, m);
        }
        let wait = if m.takes("sync") {
            true
        } else if m.takes("arrive") {
            false
        } else {
            return self.unsupported(i);
        };
        m.takes("aligned");
        self.done(i, m)?;
        let (id, count) = match i.operands.as_slice() {
            [id] => (id, None),
            [id, count] => (id, Some(count)),
            _ => return self.fail("a barrier takes its number and perhaps a count of threads"),
        };
        if !wait && count.is_none() {
            return self.fail("bar.arrive needs a count of threads");
        }
        let id = self.src(id, Type::U32)?;
        let count = count.map(|c| self.src(c, Type::U32)).transpose()?;
        self.emit(i, Class::Barrier, Op::Barrier { id, count, wait })
    }

    /// `bar.red.popc.u32 d, id, {count,} p`
    fn barrier_reduce(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let f = m.find(|p| match p {
            "popc" => Some(BarrierReduce::Popc),
            "and" => Some(BarrierReduce::And),
            "or" => Some(BarrierReduce::Or),
            _ => None,
        });
        let Some(f) = f else { return self.unsupported(i) };
        m.takes("aligned");
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if (f == BarrierReduce::Popc) != (ty == Type::U32) || (f != BarrierReduce::Popc) != (ty == Type::Pred)
        {
            return self.unsupported(i);
        }
        let (d, id, count, p) = match i.operands.as_slice() {
            [d, id, p] => (d, id, None, p),
            [d, id, count, p] => (d, id, Some(count), p),
            _ => return self.fail("bar.red takes a destination, a number, perhaps a count, and a predicate"),
        };
        let id = self.src(id, Type::U32)?;
        let count = count.map(|c| self.src(c, Type::U32)).transpose()?;
        let (p, negated) = self.pred(p)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Barrier, Op::BarrierReduce { f, id, count, d, p, negated })
    }
}
