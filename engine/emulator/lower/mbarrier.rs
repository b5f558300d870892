//! Barriers in shared memory (`mbarrier`), and what concerns clusters of blocks.

use super::builder::{Builder, Lowered};
use super::matrix::base;
use super::modifiers::Modifiers;
use crate::extended::{BarrierAction, MbarrierAccess, What};
use crate::isa::{Op, Slot, Use};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{RegisterFile, Space, Type};

impl<'t> Builder<'t, '_> {
    /// Adds an operation on a barrier.
    fn emit_mbarrier(&mut self, i: &Instruction<'t>, access: MbarrierAccess) -> Lowered<()> {
        let mut uses = vec![base(access.address)];
        let words = [access.count, access.bytes, access.parity];
        uses.extend(words.into_iter().flatten().map(|s| (RegisterFile::Word, s, Use::Read)));
        let how = if access.action == BarrierAction::Wait { Use::Read } else { Use::Write };
        uses.extend(access.state.map(|s| (RegisterFile::Double, s, how)));
        uses.extend(access.p.map(|p| (RegisterFile::Pred, p, Use::Write)));
        self.note_granule(Space::Shared, 4);
        self.emit_extended(i, Class::Barrier, What::Mbarrier(access), uses)
    }

    /// `mbarrier`
    pub(super) fn mbarrier(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if m.takes("pending_count") {
            return self.pending_count(i, m);
        }
        let action = m.find(|p| {
            Some(match p {
                "init" => BarrierAction::Init,
                "inval" => BarrierAction::Invalidate,
                "arrive" => BarrierAction::Arrive { drop: false, completes: true },
                "arrive_drop" => BarrierAction::Arrive { drop: true, completes: true },
                "complete_tx" => BarrierAction::CompleteBytes,
                "test_wait" | "try_wait" => BarrierAction::Wait,
                _ => return None,
            })
        });
        let expects = m.takes("expect_tx");
        let action = match action {
            Some(BarrierAction::Arrive { drop, .. }) => {
                BarrierAction::Arrive { drop, completes: !m.takes("noComplete") }
            }
            Some(action) if !expects => action,
            None if expects => BarrierAction::ExpectBytes,
            _ => return self.unsupported(i),
        };
        let parity = action == BarrierAction::Wait && m.takes("parity");
        let remote = m.all().contains(&"shared::cluster");
        let legal = ordered(action, m) && (!remote || crosses(action));
        let space = m.find(Space::parse).unwrap_or(Space::Generic);
        if !legal || !matches!(space, Space::Shared | Space::Generic) || !m.takes("b64") {
            return self.unsupported(i);
        }
        self.done(i, m)?;
        self.mbarrier_operands(i, action, expects, parity, space)
    }

    /// The operands of an operation on a barrier.
    fn mbarrier_operands(
        &mut self,
        i: &Instruction<'t>,
        action: BarrierAction,
        expects: bool,
        parity: bool,
        space: Space,
    ) -> Lowered<()> {
        use BarrierAction::{Arrive, CompleteBytes, CopyArrive, ExpectBytes, Init, Invalidate, Wait};
        let all = i.operands.as_slice();
        // What is before the address, and what is after it.
        let (before, at, after) = match (action, all) {
            (Arrive { .. } | Wait, [first, at, after @ ..]) => (Some(first), at, after),
            (Init | Invalidate | ExpectBytes | CompleteBytes | CopyArrive { .. }, [at, after @ ..]) => {
                (None, at, after)
            }
            _ => return self.fail(format!("`{}` has too few operands", i.opcode)),
        };
        let (address, space) = self.address(at, space)?;
        if space != Space::Shared && space != Space::Generic {
            return self.unsupported(i);
        }
        let mut access = MbarrierAccess {
            action,
            space,
            address,
            count: None,
            bytes: None,
            state: None,
            parity: None,
            p: None,
        };
        match (action, after) {
            (Invalidate | CopyArrive { .. }, []) => {}
            (Init, [count]) => access.count = Some(self.src(count, Type::U32)?),
            (Arrive { completes, .. }, []) if completes && !expects => {}
            (Arrive { .. }, [count]) if !expects => access.count = Some(self.src(count, Type::U32)?),
            (Arrive { completes: true, .. } | ExpectBytes | CompleteBytes, [bytes]) => {
                access.bytes = Some(self.src(bytes, Type::U32)?);
            }
            (Wait, [phase]) => self.phase(&mut access, phase, parity)?,
            (Wait, [phase, hint]) if i.opcode.contains("try_wait") => {
                self.phase(&mut access, phase, parity)?;
                // How long a thread may sleep is left to the implementation.
                self.src(hint, Type::U32)?;
            }
            _ => return self.fail(format!("`{}` has a wrong number of operands", i.opcode)),
        }
        match (action, before) {
            (Wait, Some(p)) => {
                let Operand::Name(name, 0) = p else { return self.unsupported(i) };
                access.p = Some(self.pred_named(name)?);
            }
            (_, Some(Operand::Name("_", 0)) | None) => {}
            (_, Some(state)) => access.state = Some(self.dst(state, Type::B64)?),
        }
        self.emit_mbarrier(i, access)
    }

    /// The phase that a wait is for.
    fn phase(&mut self, access: &mut MbarrierAccess, phase: &Operand<'t>, parity: bool) -> Lowered<()> {
        if parity {
            access.parity = Some(self.src(phase, Type::U32)?);
        } else {
            access.state = Some(self.src(phase, Type::B64)?);
        }
        Ok(())
    }

    /// `mbarrier.pending_count.b64 d, state`
    fn pending_count(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if !m.takes("b64") {
            return self.unsupported(i);
        }
        self.done(i, m)?;
        let [d, state] = self.operands(i)?;
        let state = self.src(state, Type::B64)?;
        let d = self.dst(d, Type::U32)?;
        let uses = vec![(RegisterFile::Double, state, Use::Read), (RegisterFile::Word, d, Use::Write)];
        self.emit_extended(i, Class::Barrier, What::PendingCount { d, state }, uses)
    }

    /// `cp.async.mbarrier.arrive`, after `cp.async`
    pub(super) fn copy_arrive(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if !m.takes("arrive") {
            return self.unsupported(i);
        }
        let counted = m.takes("noinc");
        let space = m.find(Space::parse).unwrap_or(Space::Generic);
        if !matches!(space, Space::Shared | Space::Generic) || !m.takes("b64") {
            return self.unsupported(i);
        }
        self.done(i, m)?;
        self.mbarrier_operands(i, BarrierAction::CopyArrive { counted }, false, false, space)
    }

    /// `barrier.cluster.arrive` and `barrier.cluster.wait`, after `barrier.cluster`
    pub(super) fn cluster_barrier(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let what = match (m.takes("arrive"), m.takes("wait")) {
            (true, false) => What::ClusterArrive,
            (false, true) => What::ClusterWait,
            _ => return self.unsupported(i),
        };
        let orders: &[&str] =
            if matches!(what, What::ClusterArrive) { &["release", "relaxed"] } else { &["acquire"] };
        m.find(|p| orders.contains(&p).then_some(()));
        m.takes("aligned");
        self.done(i, m)?;
        let [] = self.operands(i)?;
        self.emit_extended(i, Class::Barrier, what, Vec::new())
    }

    /// `mapa{.shared::cluster}.u32 d, a, rank`
    pub(super) fn map_rank(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let double = self.cluster_address(i, m)?;
        let [d, a, rank] = self.operands(i)?;
        let (ty, file) = width(double);
        let a = self.src(a, ty)?;
        let rank = self.src(rank, Type::U32)?;
        let d = self.dst(d, ty)?;
        let uses = vec![(file, a, Use::Read), (RegisterFile::Word, rank, Use::Read), (file, d, Use::Write)];
        self.emit_extended(i, Class::Move, What::MapRank { double, d, a, rank }, uses)
    }

    /// `getctarank{.shared::cluster}.u64 d, a`: every address belongs to the only block.
    pub(super) fn rank_of(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let double = self.cluster_address(i, m)?;
        let [d, a] = self.operands(i)?;
        self.src(a, width(double).0)?;
        let zero = self.constant(RegisterFile::Word, 0);
        let d = self.dst(d, Type::U32)?;
        self.emit(i, Class::Move, Op::Move { d, a: zero })
    }

    /// Whether the addresses of `mapa` and `getctarank` have 64 bits.
    fn cluster_address(&self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<bool> {
        let space = m.find(Space::parse).unwrap_or(Space::Generic);
        let double = match self.ty(i, m)? {
            Type::U32 => false,
            Type::U64 => true,
            _ => return self.unsupported(i),
        };
        self.done(i, m)?;
        if matches!(space, Space::Generic | Space::Shared) { Ok(double) } else { self.unsupported(i) }
    }

    /// `elect.sync d|p, mask`
    pub(super) fn elect(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if !m.takes("sync") {
            return self.unsupported(i);
        }
        self.done(i, m)?;
        let [to, mask] = self.operands(i)?;
        let Operand::Pair(d, p) = to else { return self.unsupported(i) };
        let mask = self.src(mask, Type::B32)?;
        let p = self.pred_named(p)?;
        let d: Option<Slot> = if *d == "_" { None } else { Some(self.dst(&Operand::Name(d, 0), Type::B32)?) };
        let mut uses = vec![(RegisterFile::Word, mask, Use::Read), (RegisterFile::Pred, p, Use::Write)];
        uses.extend(d.map(|d| (RegisterFile::Word, d, Use::Write)));
        self.emit_extended(i, Class::Vote, What::Elect { d, p, mask }, uses)
    }

    /// `setmaxnreg` and `griddepcontrol`, which change nothing here.
    pub(super) fn hint(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let known = match m.name {
            "setmaxnreg" => {
                m.takes("inc") != m.takes("dec") && ["sync", "aligned", "u32"].iter().all(|p| m.takes(p))
            }
            _ => m.takes("launch_dependents") != m.takes("wait"),
        };
        if !known {
            return self.unsupported(i);
        }
        self.done(i, m)?;
        match (m.name, i.operands.as_slice()) {
            ("setmaxnreg", [Operand::Int(24..=256)]) | ("griddepcontrol", []) => {}
            _ => return self.fail(format!("`{}` does not take these operands", i.opcode)),
        }
        self.emit(i, Class::Other, Op::Nop)
    }
}

/// Takes the memory order and the scope of an operation on a barrier, which change nothing here. Whether it can have them.
fn ordered(action: BarrierAction, m: &mut Modifiers) -> bool {
    let order = m.find(|p| ["release", "acquire", "relaxed"].into_iter().find(|o| *o == p));
    let scope = m.takes("cta") || m.takes("cluster");
    match (action, order) {
        (BarrierAction::Init | BarrierAction::Invalidate, order) => order.is_none() && !scope,
        (_, None) => true,
        (BarrierAction::Wait, Some(order)) => order != "release",
        (BarrierAction::Arrive { .. }, Some(order)) => order != "acquire",
        (_, Some(order)) => order == "relaxed",
    }
}

/// Whether the barrier of an operation may be named by an address of the cluster.
fn crosses(action: BarrierAction) -> bool {
    use BarrierAction::{Arrive, CompleteBytes, ExpectBytes};
    matches!(action, Arrive { completes: true, .. } | ExpectBytes | CompleteBytes)
}

/// The type and the register file of an address.
fn width(double: bool) -> (Type, RegisterFile) {
    if double { (Type::U64, RegisterFile::Double) } else { (Type::U32, RegisterFile::Word) }
}
