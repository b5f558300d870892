//! Loads and stores of shared and local memory.

use crate::access::{collect, deliver, uniform, word_mask};
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::float::{Lanes, map};
use crate::isa::Access;
use crate::meter::Traffic;
use crate::program::Placed;
use crate::registers::each_lane;
use crate::shadow::Conflict;
use crate::shared::{OUTSIDE, wavefronts};

impl Exec<'_, '_> {
    pub(crate) fn load_shared(&mut self, access: &Access, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.bytes();
        self.count_shared(at, active, bytes);
        self.check_aligned(at, active, bytes)?;
        if uniform(at, active) {
            let lane = active.trailing_zeros();
            self.check_shared(lane, at[lane as usize], bytes, true)?;
            self.note_shared_read(lane, at[lane as usize], bytes, active, access.strong)?;
        } else {
            let mut rest = active;
            while rest != 0 {
                let lane = rest.trailing_zeros();
                rest &= rest - 1;
                self.check_shared(lane, at[lane as usize], bytes, true)?;
                self.note_shared_read(lane, at[lane as usize], bytes, 1 << lane, access.strong)?;
            }
        }
        let words = &self.state.shared.words;
        deliver(&mut self.warp.registers, access, at, active, |_, index| words[index]);
        Ok(())
    }

    pub(crate) fn store_shared(&mut self, access: &Access, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.bytes();
        self.count_shared(at, active, bytes);
        self.check_aligned(at, active, bytes)?;
        let mut rest = active;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            rest &= rest - 1;
            let at = at[lane as usize];
            self.check_shared(lane, at, bytes, false)?;
            let data = collect(&self.warp.registers, access, lane as usize, at);
            let first = (at / 4) as usize;
            let shared = &self.state.shared;
            let bits = crate::memory::byte_mask(data.mask);
            let same = || (0..data.count).all(|k| (shared.words[first + k] ^ data.words[k]) & bits == 0);
            let same = !shared.cells.is_empty() && same();
            self.note_shared_write(lane, at, bytes, access.strong, same)?;
            let shared = &mut self.state.shared;
            for k in 0..data.count {
                let word = &mut shared.words[first + k];
                *word = *word & !bits | data.words[k] & bits;
                shared.state[first + k] |= data.mask;
            }
        }
        Ok(())
    }

    fn count_shared(&mut self, at: &Lanes<u64>, active: u32, bytes: u32) {
        let (passes, ideal) = wavefronts(&map(at, |a| a as u32), active, bytes);
        let threads = u64::from(active.count_ones());
        self.state.tally.checks += threads;
        self.state.tally.traffic[self.pc as usize].shared += Traffic {
            requests: 1,
            threads,
            bytes: threads * u64::from(bytes),
            sectors: 0,
            wavefronts: passes,
            ideal_wavefronts: ideal,
        };
    }

    /// That an aligned access lies in a variable, and for loads that it was written.
    #[inline(always)]
    pub(crate) fn check_shared(&self, lane: u32, at: u64, bytes: u32, load: bool) -> Run<()> {
        let state = &self.state.shared.state;
        let mask = word_mask(at, bytes);
        let first = (at / 4) as usize;
        let wanted = if load && self.env.options.checks { mask } else { 0 };
        let looked_at = wanted | (mask * OUTSIDE);
        let words = bytes.div_ceil(4) as usize;
        let fine = first.checked_add(words).and_then(|end| state.get(first..end));
        if fine.is_some_and(|s| s.iter().all(|s| s & looked_at == wanted)) {
            return Ok(());
        }
        self.shared_fault(lane, at, bytes)
    }

    #[cold]
    fn shared_fault(&self, lane: u32, at: u64, bytes: u32) -> Run<()> {
        let program = &self.env.program;
        let size = |p: &Placed| if p.bytes == 0 { self.env.dynamic_shared } else { p.bytes };
        let end = |p: &Placed| u64::from(p.at) + u64::from(size(p));
        let inside = program.shared.iter().find(|p| at >= u64::from(p.at) && at + u64::from(bytes) <= end(p));
        if let Some(p) = inside {
            let detail = format!(
                "shared memory `{}` at byte {}, which nothing wrote in this block",
                p.name,
                at - u64::from(p.at)
            );
            return stop(FaultKind::Uninitialised, lane, Some(at), detail);
        }
        let before = program.shared.iter().filter(|p| u64::from(p.at) <= at).max_by_key(|p| p.at);
        let detail = match before {
            Some(p) => format!(
                "{bytes} bytes at byte {} of shared memory `{}`, which has {}",
                at - u64::from(p.at),
                p.name,
                size(p)
            ),
            None => format!("{bytes} bytes before any shared variable"),
        };
        stop(FaultKind::OutOfBounds, lane, Some(at), detail)
    }

    #[inline(always)]
    fn note_shared_read(&mut self, lane: u32, at: u64, bytes: u32, lanes: u32, strong: bool) -> Run<()> {
        let shared = &mut self.state.shared;
        if shared.cells.is_empty() {
            return Ok(());
        }
        let range =
            (at >> shared.granule) as usize..=((at + u64::from(bytes) - 1) >> shared.granule) as usize;
        let mut found = None;
        for cell in &mut shared.cells[range] {
            found = found.or(cell.read(&self.state.clock, self.warp.index, lanes, strong));
        }
        match found {
            None => Ok(()),
            Some(conflict) => self.race(lane, at, conflict, false),
        }
    }

    /// `same` says that the bytes written are there already.
    #[inline(always)]
    pub(crate) fn note_shared_write(
        &mut self,
        lane: u32,
        at: u64,
        bytes: u32,
        atomic: bool,
        same: bool,
    ) -> Run<()> {
        let shared = &mut self.state.shared;
        if shared.cells.is_empty() {
            return Ok(());
        }
        let range =
            (at >> shared.granule) as usize..=((at + u64::from(bytes) - 1) >> shared.granule) as usize;
        let mut found = None;
        for cell in &mut shared.cells[range] {
            let conflict = cell.write(&self.state.clock, self.warp.index * 32 + lane, atomic);
            found = found.or(conflict);
        }
        match found {
            None => Ok(()),
            // Lanes of a warp that store one value to one place: whichever comes last, the result is the same.
            Some(conflict) if conflict.same_warp_writes && same => Ok(()),
            Some(conflict) => self.race(lane, at, conflict, true),
        }
    }

    #[cold]
    pub(crate) fn race(&self, lane: u32, at: u64, conflict: Conflict, write: bool) -> Run<()> {
        let [x, y, z] = self.env.thread(conflict.thread);
        let block = match conflict.block {
            None => String::new(),
            Some(n) => format!(" of block {n}"),
        };
        let did = if conflict.wrote { "wrote" } else { "read" };
        let does = if write { "writes" } else { "reads" };
        let detail = format!("{does} what thread ({x}, {y}, {z}){block} {did}, with no barrier between them");
        stop(FaultKind::Race, lane, Some(at), detail)
    }

    /// The index of the first word of a local access. Local memory is small, its variables few.
    fn check_local(&self, lane: u32, at: u64, bytes: u32) -> Run<()> {
        let within = |p: &Placed| at >= u64::from(p.at) && at + u64::from(bytes) <= u64::from(p.at + p.bytes);
        let placed = &self.env.program.local;
        if at < u64::from(self.env.program.local_bytes) && placed.iter().any(within) {
            return Ok(());
        }
        let before = placed.iter().rfind(|p| u64::from(p.at) <= at);
        let detail = match before {
            Some(p) => format!(
                "{bytes} bytes at byte {} of `{}`, which has {}",
                at - u64::from(p.at),
                p.name,
                p.bytes
            ),
            None => format!("{bytes} bytes before any local variable"),
        };
        stop(FaultKind::OutOfBounds, lane, Some(at), detail)
    }

    /// Alignment, bounds, and for loads initialisation, of each lane.
    fn check_locals(&mut self, access: &Access, at: &Lanes<u64>, active: u32, load: bool) -> Run<()> {
        let bytes = access.bytes();
        let threads = u64::from(active.count_ones());
        self.state.tally.checks += threads;
        self.state.tally.traffic[self.pc as usize].local +=
            Traffic { requests: 1, threads, bytes: threads * u64::from(bytes), ..Traffic::default() };
        self.check_aligned(at, active, bytes)?;
        let same = uniform(at, active);
        let mut rest = active;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            rest &= rest - 1;
            let here = at[lane as usize];
            if !same || lane == active.trailing_zeros() {
                self.check_local(lane, here, bytes)?;
            }
            if load && self.env.options.checks {
                let unwritten =
                    |b: u64| self.warp.local_written[(b / 4) as usize][(b % 4) as usize] >> lane & 1 == 0;
                if let Some(b) = (here..here + u64::from(bytes)).find(|&b| unwritten(b)) {
                    return stop(
                        FaultKind::Uninitialised,
                        lane,
                        Some(b),
                        "local memory that the thread has not written",
                    );
                }
            }
        }
        Ok(())
    }

    pub(crate) fn load_local(&mut self, access: &Access, at: &Lanes<u64>, active: u32) -> Run<()> {
        self.check_locals(access, at, active, true)?;
        let local = &self.warp.local;
        deliver(&mut self.warp.registers, access, at, active, |lane, index| local[index][lane]);
        Ok(())
    }

    pub(crate) fn store_local(&mut self, access: &Access, at: &Lanes<u64>, active: u32) -> Run<()> {
        self.check_locals(access, at, active, false)?;
        let warp = &mut *self.warp;
        each_lane(active, |lane| {
            let data = collect(&warp.registers, access, lane, at[lane]);
            let first = (at[lane] / 4) as usize;
            let bits = crate::memory::byte_mask(data.mask);
            for k in 0..data.count {
                let word = &mut warp.local[first + k][lane];
                *word = *word & !bits | data.words[k] & bits;
                for (b, written) in warp.local_written[first + k].iter_mut().enumerate() {
                    *written |= u32::from(data.mask >> b & 1) << lane;
                }
            }
        });
        Ok(())
    }
}
