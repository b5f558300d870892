//! Loads and stores of shared memory.

use super::address::uniform;
use super::race::Doing;
use super::words::{collect, deliver, word_mask};
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::isa::{ALL_BYTES, MemoryAccess};
use crate::lanes::{Lanes, map, set_lanes};
use crate::memory::byte_mask;
use crate::meter::Traffic;
use crate::program::Placed;
use crate::shared::{OUTSIDE, wavefronts};
use crate::types::Space;

impl Exec<'_, '_> {
    /// Loads for lanes whose addresses are offsets of shared memory.
    pub(super) fn load_shared(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.bytes();
        self.count_shared(at, active, bytes);
        self.check_aligned(at, active, bytes)?;
        if access.used != ALL_BYTES {
            self.check_used_shared(access, at, active)?;
        } else if uniform(at, active) {
            let lane = active.trailing_zeros();
            self.check_shared(lane, at[lane as usize], bytes, true)?;
            self.note_shared_read(lane, at[lane as usize], bytes, active, access.order.strong())?;
        } else {
            for lane in set_lanes(active) {
                self.check_shared(lane, at[lane as usize], bytes, true)?;
                self.note_shared_read(lane, at[lane as usize], bytes, 1 << lane, access.order.strong())?;
            }
        }
        let words = &self.state.shared.words;
        deliver(&mut self.warp.registers, access, at, active, |_, index| words[index]);
        if access.order.strong() {
            self.after_strong_load(access.order, at, active, Space::Shared);
        }
        Ok(())
    }

    /// Checks a load of which only some bytes are used.
    #[cold]
    #[inline(never)]
    fn check_used_shared(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            self.check_shared(lane, here, access.bytes(), false)?;
            for byte in set_lanes(u32::from(access.used)).filter(|&byte| byte < access.bytes()) {
                self.check_shared(lane, here + u64::from(byte), 1, true)?;
                self.note_shared_read(lane, here + u64::from(byte), 1, 1 << lane, access.order.strong())?;
            }
        }
        Ok(())
    }

    /// Stores for lanes whose addresses are offsets of shared memory.
    pub(super) fn store_shared(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.bytes();
        self.count_shared(at, active, bytes);
        self.check_aligned(at, active, bytes)?;
        if access.order.strong() {
            self.before_strong_store(access.order, at, active, Space::Shared);
        }
        for lane in set_lanes(active) {
            let at = at[lane as usize];
            self.check_shared(lane, at, bytes, false)?;
            let data = collect(&self.warp.registers, access, lane as usize, at);
            let first = (at / 4) as usize;
            let shared = &self.state.shared;
            let bits = byte_mask(data.mask);
            let same = || (0..data.count).all(|k| (shared.words[first + k] ^ data.words[k]) & bits == 0);
            let same = shared.watched() && same();
            self.note_shared_write(lane, at, bytes, access.order.strong(), same)?;
            let shared = &mut self.state.shared;
            for k in 0..data.count {
                let word = &mut shared.words[first + k];
                *word = *word & !bits | data.words[k] & bits;
                shared.bytes[first + k] |= data.mask;
            }
        }
        self.after_release(access.order);
        Ok(())
    }

    /// Counts a request for `bytes` bytes by each lane.
    pub(super) fn count_shared(&mut self, at: &Lanes<u64>, active: u32, bytes: u32) {
        let (wavefronts, ideal_wavefronts) = wavefronts(&map(at, |a| a as u32), active, bytes);
        let traffic = Traffic { wavefronts, ideal_wavefronts, ..self.request(active, bytes) };
        self.traffic().shared += traffic;
    }

    /// Checks that an aligned access lies in a variable, and for loads that its bytes were written.
    #[inline(always)]
    pub(super) fn check_shared(&self, lane: u32, at: u64, bytes: u32, load: bool) -> Run<()> {
        let state = &self.state.shared.bytes;
        let mask = word_mask(at, bytes);
        let first = (at / 4) as usize;
        let wanted = if load && self.env.checks.uninitialised_memory { mask } else { 0 };
        let looked_at = wanted | (mask * OUTSIDE);
        let words = bytes.div_ceil(4) as usize;
        let fine = first.checked_add(words).and_then(|end| state.get(first..end));
        if fine.is_some_and(|s| s.iter().all(|s| s & looked_at == wanted)) {
            return Ok(());
        }
        self.shared_fault(lane, at, bytes)
    }

    /// Says why an access is refused.
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
            return self.unwritten(lane, at, detail);
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

    /// Notes a read by `lanes`, and stops where it races.
    #[inline(always)]
    pub(super) fn note_shared_read(
        &mut self,
        lane: u32,
        at: u64,
        bytes: u32,
        lanes: u32,
        strong: bool,
    ) -> Run<()> {
        let mut conflict = None;
        for cell in self.state.shared.cells(at, bytes) {
            conflict = conflict.or(cell.read(&self.state.clock, self.warp.index, lanes, strong, self.pc));
        }
        match conflict {
            None => Ok(()),
            Some(conflict) => self.race(lane, at, conflict, Doing::read(strong), Space::Shared),
        }
    }

    /// Notes a write by one lane, and stops where it races. `same` says that the bytes to be written are there already.
    #[inline(always)]
    pub(super) fn note_shared_write(
        &mut self,
        lane: u32,
        at: u64,
        bytes: u32,
        atomic: bool,
        same: bool,
    ) -> Run<()> {
        let mut conflict = None;
        for cell in self.state.shared.cells(at, bytes) {
            let found = cell.write(&self.state.clock, self.warp.index * 32 + lane, atomic, self.pc);
            conflict = conflict.or(found);
        }
        match conflict {
            None => Ok(()),
            // Threads store one value to one address: whichever comes last, the result is the same.
            Some(conflict) if conflict.wrote && same => Ok(()),
            Some(conflict) => self.race(lane, at, conflict, Doing::write(atomic), Space::Shared),
        }
    }
}
