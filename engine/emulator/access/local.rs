//! Loads and stores of local memory.

use super::address::uniform;
use super::words::{collect, deliver};
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::isa::MemoryAccess;
use crate::lanes::{Lanes, each_lane, set_lanes};
use crate::memory::byte_mask;
use crate::program::Placed;

impl Exec<'_, '_> {
    /// Checks that an access lies in a local variable. There are only a few of them.
    pub(super) fn check_local(&self, lane: u32, at: u64, bytes: u32) -> Run<()> {
        let within = |p: &Placed| at >= u64::from(p.at) && at + u64::from(bytes) <= u64::from(p.at + p.bytes);
        let placed = &self.env.program.local;
        if at < u64::from(self.env.program.local_bytes) && placed.iter().any(within) {
            return Ok(());
        }
        if self.in_frame(lane, at, bytes) {
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

    /// Counts a request, and checks alignment, bounds and for loads initialisation of each lane.
    fn check_locals(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32, load: bool) -> Run<()> {
        let bytes = access.bytes();
        let traffic = self.request(active, bytes);
        self.traffic().local += traffic;
        self.check_aligned(at, active, bytes)?;
        let same = uniform(at, active);
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            if !same || lane == active.trailing_zeros() || self.env.program.frame_pointer.is_some() {
                self.check_local(lane, here, bytes)?;
            }
            if load && self.env.checks.uninitialised_memory {
                let unwritten =
                    |b: u64| self.warp.local_written[(b / 4) as usize][(b % 4) as usize] >> lane & 1 == 0;
                let used = |b: u64| access.used >> (b - here) & 1 == 1;
                if let Some(b) = (here..here + u64::from(bytes)).find(|&b| unwritten(b) && used(b)) {
                    self.unwritten(lane, b, "local memory that the thread has not written".into())?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn load_local(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        self.check_locals(access, at, active, true)?;
        let local = &self.warp.local;
        deliver(&mut self.warp.registers, access, at, active, |lane, index| local[index][lane]);
        Ok(())
    }

    pub(super) fn store_local(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        self.check_locals(access, at, active, false)?;
        let warp = &mut *self.warp;
        each_lane(active, |lane| {
            let data = collect(&warp.registers, access, lane, at[lane]);
            let first = (at[lane] / 4) as usize;
            let bits = byte_mask(data.mask);
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
