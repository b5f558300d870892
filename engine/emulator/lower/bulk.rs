//! Bulk copies (`cp.async.bulk`).

use super::builder::{Builder, Lowered};
use super::matrix::base;
use super::modifiers::Modifiers;
use crate::extended::{BulkAccess, BulkWay, TensorAccess, What};
use crate::isa::{Address, Op, Slot, Use};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{RegisterFile, Space, Type};

/// The memories of a copy, from its opcode.
pub(super) struct Way {
    pub way: BulkWay,
    /// The copy reports to a barrier, else to a group.
    pub barrier: bool,
}

/// Optional operands at the end.
pub(super) struct Extras {
    pub multicast: bool,
    pub hint: bool,
}

/// The number of dimensions that a modifier names.
fn dimensions(name: &str) -> Option<usize> {
    ["1d", "2d", "3d", "4d", "5d"].iter().position(|d| *d == name).map(|d| d + 1)
}

impl<'t> Builder<'t, '_> {
    /// `cp.async.bulk`, after that
    pub(super) fn bulk(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        // Copies from shared memory are done when they are started.
        if m.takes("commit_group") {
            self.done(i, m)?;
            let [] = self.operands(i)?;
            return self.emit(i, Class::Copy, Op::Nop);
        }
        if m.takes("wait_group") {
            m.takes("read");
            self.done(i, m)?;
            let [Operand::Int(0..)] = self.operands(i)? else { return self.unsupported(i) };
            return self.emit(i, Class::Copy, Op::Nop);
        }
        if m.takes("prefetch") {
            return self.prefetch(i, m);
        }
        if m.takes("tensor") {
            return self.tensor(i, m);
        }
        let (way, extras) = self.bulk_way(i, m)?;
        self.done(i, m)?;
        let [to, from, bytes, rest @ ..] = i.operands.as_slice() else {
            return self.fail(format!("`{}` has too few operands", i.opcode));
        };
        let (to_space, from_space) = match way.way {
            BulkWay::FromGlobal => (Space::Shared, Space::Global),
            BulkWay::ToGlobal => (Space::Global, Space::Shared),
            BulkWay::InShared => (Space::Shared, Space::Shared),
        };
        let (to, _) = self.address(to, to_space)?;
        let (from, _) = self.address(from, from_space)?;
        let bytes = self.src(bytes, Type::U32)?;
        let (barrier, multicast) = self.bulk_extras(i, rest, &way, &extras)?;
        let mut uses = vec![base(to), base(from), (RegisterFile::Word, bytes, Use::Read)];
        uses.extend(barrier.map(base));
        uses.extend(multicast.map(|s| (RegisterFile::Word, s, Use::Read)));
        let access = BulkAccess { way: way.way, to, from, bytes, barrier, multicast };
        self.emit_extended(i, Class::Copy, What::Bulk(access), uses)
    }

    /// `cp.async.bulk.prefetch.L2.global [from], bytes` and `cp.async.bulk.prefetch.tensor.2d.L2.global.tile [map, {x, y}]`, which
    /// change nothing here
    fn prefetch(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let dimensions = if m.takes("tensor") { Some(m.find(dimensions)) } else { None };
        let known = m.takes("L2") && m.takes("global");
        let hint = usize::from(m.takes("L2::cache_hint"));
        if dimensions.is_some() {
            m.takes("tile");
        }
        self.done(i, m)?;
        let fits = match (dimensions, i.operands.as_slice()) {
            (Some(Some(dimensions)), [Operand::Tensor(_, corner), rest @ ..]) => {
                corner.len() == dimensions && rest.len() == hint
            }
            (None, [Operand::Address(..), _, rest @ ..]) => rest.len() == hint,
            _ => false,
        };
        if !known || !fits {
            return self.unsupported(i);
        }
        self.emit(i, Class::Other, Op::Nop)
    }

    /// `cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [to], [map, {x, y}], [barrier]` and
    /// `cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [map, {x, y}], [from]`
    fn tensor(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let Some(dimensions) = m.find(dimensions) else { return self.unsupported(i) };
        let (way, extras) = self.bulk_way(i, m)?;
        m.takes("tile");
        self.done(i, m)?;
        let (shared, tensor, rest) = match (way.way, i.operands.as_slice()) {
            (BulkWay::FromGlobal, [shared, tensor, rest @ ..])
            | (BulkWay::ToGlobal, [tensor, shared, rest @ ..]) => (shared, tensor, rest),
            _ => return self.unsupported(i),
        };
        let Operand::Tensor(map, corner) = tensor else {
            return self.fail("the coordinates of a tensor are needed here");
        };
        if corner.len() != dimensions {
            return self.fail(format!("{} coordinates, where {dimensions} are needed", corner.len()));
        }
        let (map, _) = self.address(&Operand::Address(Some(map), 0), Space::Generic)?;
        let (shared, _) = self.address(shared, Space::Shared)?;
        let corner = corner.iter().map(|c| self.src(c, Type::S32)).collect::<Lowered<Vec<_>>>()?;
        let (barrier, multicast) = self.bulk_extras(i, rest, &way, &extras)?;
        // Boxes may start at any element.
        self.note_granule(Space::Global, 1);
        let mut uses = vec![base(map), base(shared)];
        uses.extend(barrier.map(base));
        uses.extend(corner.iter().chain(&multicast).map(|&s| (RegisterFile::Word, s, Use::Read)));
        let access = TensorAccess { map, corner, shared, barrier, multicast };
        self.emit_extended(i, Class::Copy, What::Tensor(access), uses)
    }

    /// The memories of a copy, how it reports that it is done, and which operands are at its end.
    pub(super) fn bulk_way(&self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<(Way, Extras)> {
        let space = |p: &str| ["global", "shared::cta", "shared::cluster"].into_iter().find(|s| *s == p);
        let spaces = (m.find(space), m.find(space));
        let way = match spaces {
            (Some("shared::cluster" | "shared::cta"), Some("global")) => BulkWay::FromGlobal,
            (Some("global"), Some("shared::cta")) => BulkWay::ToGlobal,
            (Some("shared::cluster"), Some("shared::cta")) => BulkWay::InShared,
            _ => return self.unsupported(i),
        };
        let barrier = m.takes("mbarrier::complete_tx::bytes");
        let group = m.takes("bulk_group");
        if barrier == group || barrier == (way == BulkWay::ToGlobal) {
            return self.unsupported(i);
        }
        let clustered = spaces.0 == Some("shared::cluster");
        let multicast = way == BulkWay::FromGlobal && clustered && m.takes("multicast::cluster");
        let hint = way != BulkWay::InShared && m.takes("L2::cache_hint");
        Ok((Way { way, barrier }, Extras { multicast, hint }))
    }

    /// The barrier and the blocks at the end of the operands. A cache hint is read over.
    pub(super) fn bulk_extras(
        &mut self,
        i: &Instruction<'t>,
        rest: &[Operand<'t>],
        way: &Way,
        extras: &Extras,
    ) -> Lowered<(Option<Address>, Option<Slot>)> {
        let mut rest = rest.iter();
        let count = usize::from(way.barrier) + usize::from(extras.multicast) + usize::from(extras.hint);
        if rest.len() != count {
            return self.fail(format!("`{}` has a wrong number of operands", i.opcode));
        }
        let mut next = |wanted: bool| if wanted { rest.next() } else { None };
        let (barrier, multicast, hint) = (next(way.barrier), next(extras.multicast), next(extras.hint));
        let barrier = barrier.map(|b| self.address(b, Space::Shared)).transpose()?.map(|(at, _)| at);
        let multicast = multicast.map(|mask| self.src(mask, Type::U16)).transpose()?;
        hint.map(|policy| self.src(policy, Type::B64)).transpose()?;
        Ok((barrier, multicast))
    }
}
