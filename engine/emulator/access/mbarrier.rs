//! `mbarrier`, and the barrier of a cluster.

use crate::clock::Knowledge;
use crate::exec::Exec;
use crate::extended::{BarrierAction, MbarrierAccess};
use crate::fault::{FaultKind, Run, stop};
use crate::lanes::{Lanes, lanes_where, set_lanes};
use crate::mbarrier::{MOST_COUNT, Mbarrier, token_parts};
use crate::memory::WHOLE_WORD;
use crate::types::Space;

/// The bytes of a barrier.
const BYTES: u32 = 8;

impl Exec<'_, '_> {
    /// What this warp knows of the others, to be learned by those who wait for it. What it does next is not part of that.
    pub(super) fn release(&mut self) -> Knowledge {
        if self.env.checks.races() {
            self.state.clock.knowledge(self.warp.index as usize, self.warp.live)
        } else {
            Knowledge::default()
        }
    }

    /// Learns what others knew when they arrived.
    fn acquire(&mut self, lane: u32, known: &Knowledge) {
        if self.env.checks.races() {
            self.state.clock.learn(self.warp.index as usize, lane, known);
        }
    }

    /// Executes an operation on barriers for the lanes of `active`, lowest first.
    pub(crate) fn mbarrier(&mut self, access: &MbarrierAccess, active: u32) -> Run<()> {
        let mut at = self.addresses(access.address);
        if access.space == Space::Generic {
            self.shared_offsets(&mut at, active)?;
        }
        self.check_aligned(&at, active, BYTES)?;
        self.state.tally.checks += u64::from(active.count_ones());
        match access.action {
            BarrierAction::Init | BarrierAction::Invalidate => self.place(access, &at, active),
            BarrierAction::Wait => self.wait_for_phase(access, &at, active),
            BarrierAction::CopyArrive { counted } => {
                self.copy_wait(None, active)?;
                let known = self.release();
                set_lanes(active).try_for_each(|lane| {
                    let here = at[lane as usize];
                    self.note_shared_write(lane, here, BYTES, true, false)?;
                    // What does not count raises the missing arrivals by one, which this arrival then lowers.
                    self.arrive(lane, here, u32::from(counted), 0, &known, false, false)?;
                    Ok(())
                })
            }
            BarrierAction::ExpectBytes | BarrierAction::CompleteBytes | BarrierAction::Arrive { .. } => {
                self.count(access, &at, active)
            }
        }
    }

    /// `mbarrier.init` and `mbarrier.inval`
    fn place(&mut self, access: &MbarrierAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            self.check_shared(lane, here, BYTES, false)?;
            let init = access.action == BarrierAction::Init;
            if !init {
                self.find(lane, here)?;
                self.land_bulk(here as u32)?;
            }
            // The end of a barrier may come after operations on it that only atomics of the kernel order before it.
            self.note_shared_write(lane, here, BYTES, !init, false)?;
            self.state.mbarriers.all.remove(&(here as u32));
            let first = (here / 4) as usize;
            self.state.shared.bytes[first..first + 2].iter_mut().for_each(|bytes| *bytes &= !WHOLE_WORD);
            if init {
                let count = access.count.map_or(1, |s| self.warp.registers.word(s)[lane as usize]);
                if count == 0 || count > MOST_COUNT {
                    let detail = format!("a barrier of {count} arrivals: they go from 1 to {MOST_COUNT}");
                    return stop(FaultKind::PartialBarrier, lane, Some(here), detail);
                }
                self.state.mbarriers.all.insert(here as u32, Mbarrier::new(count));
            }
        }
        Ok(())
    }

    /// Arrivals, and bytes that are expected or come.
    fn count(&mut self, access: &MbarrierAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let known = self.release();
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            let value = |slot: Option<u32>, default| {
                slot.map_or(default, |s| self.warp.registers.word(s)[lane as usize])
            };
            let (count, bytes) = (value(access.count, 1), i64::from(value(access.bytes, 0)));
            self.note_shared_write(lane, here, BYTES, true, false)?;
            let token = match access.action {
                BarrierAction::Arrive { drop, completes } => {
                    if self.find(lane, here)?.pending == 0 {
                        self.land_bulk(here as u32)?;
                    }
                    self.arrive(lane, here, count, bytes, &known, drop, !completes)?
                }
                BarrierAction::CompleteBytes => self.arrive(lane, here, 0, -bytes, &known, false, false)?,
                _ => self.arrive(lane, here, 0, bytes, &Knowledge::default(), false, false)?,
            };
            if let Some(state) = access.state {
                self.warp.registers.doubles[state as usize][lane as usize] = token;
            }
        }
        Ok(())
    }

    /// The barrier at an offset of shared memory.
    fn find(&mut self, lane: u32, at: u64) -> Run<&mut Mbarrier> {
        let first = (at / 4) as usize;
        let bytes = self.state.shared.bytes.get(first..first + 2).unwrap_or(&[]);
        let overwritten = bytes.iter().any(|b| b & WHOLE_WORD != 0);
        match self.state.mbarriers.all.get_mut(&(at as u32)) {
            Some(barrier) if at <= u64::from(u32::MAX) && !overwritten => Ok(barrier),
            Some(_) if overwritten => {
                let detail = "the barrier here was overwritten by an ordinary store";
                stop(FaultKind::Uninitialised, lane, Some(at), detail)
            }
            _ => stop(FaultKind::Uninitialised, lane, Some(at), "no barrier was initialised here"),
        }
    }

    /// Counts bytes that are expected (or came, if negative) and then arrivals, and returns the state before the latter.
    fn arrive(
        &mut self,
        lane: u32,
        at: u64,
        count: u32,
        bytes: i64,
        known: &Knowledge,
        drop: bool,
        keeps_phase: bool,
    ) -> Run<u64> {
        let barrier = self.find(lane, at)?;
        let fail = |detail: String| stop(FaultKind::PartialBarrier, lane, Some(at), detail);
        barrier.bytes += bytes;
        if barrier.bytes.unsigned_abs() > u64::from(MOST_COUNT) {
            return fail(format!("the barrier counts {} bytes, of at most {MOST_COUNT}", barrier.bytes));
        }
        let token = barrier.token();
        let Some(pending) = barrier.pending.checked_sub(count) else {
            return fail(format!("{count} arrivals, where the phase misses {}", barrier.pending));
        };
        if keeps_phase && pending == 0 && barrier.bytes == 0 {
            return fail("a .noComplete arrival completes the phase".into());
        }
        barrier.pending = pending;
        if drop {
            barrier.expected -= count;
        }
        barrier.learn(known);
        barrier.advance();
        Ok(token)
    }

    /// Checks that a copy may report to the barrier at an offset of shared memory.
    pub(super) fn find_barrier_of_copy(&mut self, lane: u32, at: u64) -> Run<()> {
        if !at.is_multiple_of(u64::from(BYTES)) {
            return stop(FaultKind::Misaligned, lane, Some(at), "a barrier of 8 bytes");
        }
        self.find(lane, at)?;
        self.note_shared_write(lane, at, BYTES, true, false)
    }

    /// Counts bytes that have landed; `known` is what the thread knew that started their copy.
    pub(super) fn complete_bytes(&mut self, barrier: u32, bytes: u32, known: &Knowledge) -> Run<()> {
        self.arrive(0, u64::from(barrier), 0, -i64::from(bytes), known, false, false)?;
        Ok(())
    }

    /// `mbarrier.test_wait` and `mbarrier.try_wait`: tells whether a phase has ended. If not, others get their turn soon.
    fn wait_for_phase(&mut self, access: &MbarrierAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let mut done = 0;
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            self.find(lane, here)?;
            self.note_shared_read(lane, here, BYTES, 1 << lane, true)?;
            self.land_bulk(here as u32)?;
            let r = &self.warp.registers;
            let token = access.state.map(|s| r.double(s)[lane as usize]);
            let parity = access.parity.map_or(0, |s| r.word(s)[lane as usize]);
            if parity > 1 {
                let detail = format!("the parity of a phase is 0 or 1, and not {parity}");
                return stop(FaultKind::PartialBarrier, lane, Some(here), detail);
            }
            let barrier = self.find(lane, here)?;
            let ended = match token {
                Some(token) => token_parts(token).1 != barrier.phase,
                None => barrier.phase % 2 != parity,
            };
            if ended {
                let known = barrier.passed.clone();
                self.acquire(lane, &known);
                done |= 1 << lane;
            }
        }
        if let Some(p) = access.p {
            self.warp.registers.set_pred(p, done, active);
        }
        if done != active {
            self.poll();
        }
        Ok(())
    }

    /// `barrier.cluster.arrive`
    pub(crate) fn cluster_arrive(&mut self, active: u32) -> Run<()> {
        let warp = self.warp.index as usize;
        let cluster = &mut self.state.mbarriers.cluster;
        let twice = active & (cluster.arrived[warp] | cluster.passed[warp]);
        if twice != 0 {
            let detail = "the thread arrives again without having waited";
            return stop(FaultKind::PartialBarrier, twice.trailing_zeros(), None, detail);
        }
        cluster.arrived[warp] |= active;
        Ok(())
    }

    /// `barrier.cluster.wait`: returns the lanes for which all have arrived.
    pub(crate) fn cluster_wait(&mut self, active: u32) -> Run<u32> {
        let warp = self.warp.index as usize;
        let cluster = &mut self.state.mbarriers.cluster;
        let never = active & !(cluster.arrived[warp] | cluster.passed[warp]);
        if never != 0 {
            let detail = "the thread waits without having arrived";
            return stop(FaultKind::PartialBarrier, never.trailing_zeros(), None, detail);
        }
        if active & cluster.arrived[warp] != 0 && cluster.advance() {
            self.state.clock.join_all();
            self.state.tally.barriers += 1;
        }
        let passed = &mut self.state.mbarriers.cluster.passed[warp];
        let done = lanes_where(active, |l| *passed >> l & 1 == 1);
        *passed &= !done;
        if done != active {
            self.poll();
            self.turn_is_over(active & !done)?;
        }
        Ok(done)
    }
}
