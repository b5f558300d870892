//! The instruction loop of a warp, and what moves its lanes: branches, exits and waits.

use crate::alu;
use crate::block_state::{Arrivals, BARRIERS};
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, Stop, stop};
use crate::isa::{NO_SLOT, Op, Slot};
use crate::lanes::lanes_where;
use crate::program::Inst;
use crate::warp::{NO_LIMIT, Wait};

/// What the lanes of a warp do after an instruction.
enum Next {
    /// All go on to the following instruction.
    Step,
    /// The lanes of `taken` jump, the others step.
    Jump { taken: u32, target: u32 },
    /// These lanes are done, the others step.
    Exit(u32),
    /// These lanes stay and wait, the others step.
    Stay(u32, Wait),
    /// Each lane goes to its own target; they are queued already.
    Scattered,
}

impl Exec<'_, '_> {
    /// Runs the warp until every lane waits, has exited, or has had its turn.
    pub fn run(&mut self) -> Run<()> {
        self.warp.polls = false;
        self.start_turn();
        while let Some((group, mut limit)) = self.warp.take() {
            if self.env.checks.skipped_barriers && self.warp.at_barrier() {
                limit = self.check_skipped(&group, limit)?;
            }
            self.run_group(group.pc, group.mask, limit)?;
        }
        Ok(())
    }

    /// Runs lanes that are together until they part, wait, end, or reach `limit`, where others are.
    fn run_group(&mut self, start: u32, mut mask: u32, limit: u32) -> Run<()> {
        let env = self.env;
        let code = env.program.code.as_slice();
        let mut pc = start;
        loop {
            self.pc = pc;
            let inst = &code[pc as usize];
            let active = match inst.guard {
                NO_SLOT => mask,
                p if inst.negated => mask & !self.warp.registers.pred(p),
                p => mask & self.warp.registers.pred(p),
            };
            let branch = matches!(inst.op, Op::Branch { .. });
            let count = &mut self.state.tally.counts[pc as usize];
            count.warps += 1;
            count.threads += u64::from((if branch { mask } else { active }).count_ones());
            count.partial += u64::from(mask != self.warp.lanes);
            self.warp.executed += 1;
            if inst.suspect && env.checks.uninitialised_registers {
                self.check_written(inst, mask, active)?;
            }
            let next = if alu::execute(&mut self.warp.registers, &inst.op, active) || active == 0 {
                Next::Step
            } else {
                self.step(inst, active)?
            };
            if inst.tracks {
                let registers = &mut self.warp.registers;
                registers
                    .written
                    .note(&inst.op, &env.program.extended, active, |p| registers.preds[p as usize]);
            }
            match next {
                Next::Step => pc += 1,
                Next::Jump { taken, target } => {
                    let rest = mask & !taken;
                    self.warp.put(pc + 1, rest, Wait::Ready);
                    if target <= pc && self.turn_is_over(taken)? {
                        self.warp.put(target, taken, Wait::Turn);
                        self.start_turn();
                        return Ok(());
                    }
                    if rest != 0 || limit != NO_LIMIT || !self.warp.groups.is_empty() {
                        self.warp.put(target, taken, Wait::Ready);
                        return Ok(());
                    }
                    pc = target;
                }
                Next::Exit(gone) => {
                    self.warp.live &= !gone;
                    self.state.mbarriers.cluster.live[self.warp.index as usize] = self.warp.live;
                    mask &= !gone;
                    pc += 1;
                    if mask == 0 {
                        return Ok(());
                    }
                }
                Next::Stay(waiting, wait) => {
                    self.warp.put(pc, waiting, wait);
                    self.warp.put(pc + 1, mask & !waiting, Wait::Ready);
                    return Ok(());
                }
                Next::Scattered => {
                    self.warp.put(pc + 1, mask & !active, Wait::Ready);
                    return Ok(());
                }
            }
            if pc >= limit {
                self.warp.put(pc, mask, Wait::Ready);
                return Ok(());
            }
        }
    }

    /// Checks that the lanes of `mask` have written the guard, and those of `active` the operands.
    fn check_written(&mut self, inst: &Inst, mask: u32, active: u32) -> Run<()> {
        self.state.tally.checks += u64::from(mask.count_ones());
        let program = &self.env.program;
        let missing = self.warp.registers.written.missing(inst, &program.extended, mask, active);
        let Some((lane, register, from)) = missing else {
            return Ok(());
        };
        let names = &program.watched_names;
        let detail = match from {
            None => format!("uses `{}`, which nothing wrote", names[register]),
            Some(from) => {
                format!(
                    "uses `{}`, which was computed from `{}`, which nothing wrote",
                    names[register], names[from]
                )
            }
        };
        self.report(Stop { kind: FaultKind::Uninitialised, lane, address: None, detail })
    }

    /// Executes what [`alu`] does not. `active` is not empty.
    fn step(&mut self, inst: &Inst, active: u32) -> Run<Next> {
        match inst.op {
            Op::Branch { target } => return Ok(Next::Jump { taken: active, target }),
            Op::Load(ref access) => self.load(access, active)?,
            Op::Store(ref access) => self.store(access, active)?,
            Op::Exit => return Ok(Next::Exit(active)),
            Op::Barrier { .. } | Op::BarrierReduce { .. } => return self.barrier(&inst.op, active),
            Op::Atomic(ref access) => self.atomic(access, active)?,
            Op::CopyAsync(ref copy) => self.copy_async(copy, active)?,
            Op::Fence(order) => self.fence(order, active),
            Op::CopyCommit => self.copy_commit(active),
            Op::CopyWait { pending } => self.copy_wait(pending, active)?,
            Op::Extended { index } => {
                let (done, wait) = self.extended(index, active)?;
                if done != active {
                    return Ok(Next::Stay(active & !done, wait));
                }
            }
            Op::Shuffle { mask, .. }
            | Op::Vote { mask, .. }
            | Op::Match { mask, .. }
            | Op::Redux { mask, .. }
            | Op::WarpBarrier { mask } => {
                let ready = self.meet(mask, active)?;
                self.together(&inst.op, ready)?;
                if ready != active {
                    return Ok(Next::Stay(active & !ready, Wait::Lanes));
                }
            }
            Op::ActiveMask { d } => self.warp.registers.set_word(d, &[active; 32], active),
            Op::Clock { double, d } => {
                let now = self.warp.executed;
                if double {
                    self.warp.registers.set_double(d, &[now; 32], active);
                } else {
                    self.warp.registers.set_word(d, &[now as u32; 32], active);
                }
            }
            Op::Call { site, a } => {
                self.call(site, a, active)?;
                self.turn_is_over(active)?;
                return Ok(Next::Scattered);
            }
            Op::Return => {
                self.return_from(active)?;
                self.turn_is_over(active)?;
                return Ok(Next::Scattered);
            }
            Op::System { call } => self.system(call, active)?,
            Op::BranchTable { table, a } => return self.scatter(table, a, active),
            Op::Trap => {
                return stop(FaultKind::Trap, active.trailing_zeros(), None, "the kernel stopped itself");
            }
            _ => unreachable!("alu executes the rest"),
        }
        Ok(Next::Step)
    }

    /// Sends each lane to the target that its index names.
    fn scatter(&mut self, table: u32, a: Slot, active: u32) -> Run<Next> {
        let targets = &self.env.program.tables[table as usize];
        let index = *self.warp.registers.word(a);
        let over = self.turn_is_over(active)?;
        if over {
            self.start_turn();
        }
        let mut rest = active;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let wanted = index[lane as usize];
            let Some(&target) = targets.get(wanted as usize) else {
                let detail = format!("the branch index is {wanted}, of {} targets", targets.len());
                return stop(FaultKind::OutOfBounds, lane, None, detail);
            };
            let same = lanes_where(rest, |l| index[l] == wanted);
            self.warp.put(target, same, if over { Wait::Turn } else { Wait::Ready });
            rest &= !same;
        }
        Ok(Next::Scattered)
    }

    /// Arrives at a barrier of the block.
    fn barrier(&mut self, op: &Op, active: u32) -> Run<Next> {
        let (id, count, wait) = match *op {
            Op::Barrier { id, count, wait } => (id, count, wait),
            Op::BarrierReduce { id, count, .. } => (id, count, true),
            _ => unreachable!("called for barriers"),
        };
        let lane = active.trailing_zeros();
        let r = &self.warp.registers;
        let id = r.word(id)[lane as usize];
        let count = count.map_or(0, |c| r.word(c)[lane as usize]);
        if id >= BARRIERS as u32 || count % 32 != 0 {
            let detail = format!(
                "barrier {id} of {count} threads: numbers go from 0 to 15, counts are multiples of 32"
            );
            return stop(FaultKind::PartialBarrier, lane, None, detail);
        }
        if wait {
            return Ok(Next::Stay(active, Wait::Block { id, count }));
        }
        self.pass(id as usize, count, active);
        Ok(Next::Scattered)
    }

    /// Passes a `bar.arrive`. The lanes have another turn after the barrier has opened, if it can, so that what arrives
    /// next belongs to its next use.
    #[cold]
    fn pass(&mut self, id: usize, count: u32, active: u32) {
        let known = self.state.clock.knowledge(self.warp.index as usize, active);
        let arrivals = &mut self.state.arrivals[id];
        arrivals.known.add(&known);
        // Lanes that have left the kernel are not waited for.
        arrivals.threads += if active == self.warp.live { 32 } else { active.count_ones() };
        if arrivals.threads >= count {
            // Nobody waited for them.
            *arrivals = Arrivals::default();
        }
        self.warp.put(self.pc + 1, active, Wait::Turn);
    }

    /// The lanes of `active` whose masks are complete here; the others must wait.
    pub(crate) fn meet(&mut self, mask: Slot, active: u32) -> Run<u32> {
        let masks = *self.warp.registers.word(mask);
        let mut ready = 0;
        let mut rest = active;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let wanted = masks[lane as usize];
            let same = lanes_where(rest, |l| masks[l] == wanted);
            rest &= !same;
            if same & !wanted != 0 {
                let lane = (same & !wanted).trailing_zeros();
                return stop(
                    FaultKind::Mask,
                    lane,
                    None,
                    format!("lane {lane} is not in its own mask {wanted:#010x}"),
                );
            }
            // A mask may name lanes that do not exist because the block ends within the warp.
            let wanted = wanted & self.warp.lanes;
            let gone = wanted & !self.warp.live;
            if gone != 0 && self.env.checks.masks {
                let detail =
                    format!("the mask names lane {}, which has left the kernel", gone.trailing_zeros());
                self.report(Stop { kind: FaultKind::ExitBeforeBarrier, lane, address: None, detail })?;
            }
            if wanted & self.warp.live & !same == 0 {
                ready |= same;
            }
        }
        Ok(ready)
    }
}
