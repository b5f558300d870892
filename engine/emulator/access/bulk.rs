//! Bulk copies between global and shared memory (`cp.async.bulk`).
//!
//! A copy to shared memory reads its source at once, and the bytes under way count as not written until a thread tests the
//! barrier that they report to: then they land, and the barrier counts them. A copy from shared memory is done at once.

use std::sync::atomic::Ordering::Relaxed;

use super::global::Effect;
use crate::checks::Checks;
use crate::exec::Exec;
use crate::extended::{BulkAccess, BulkWay};
use crate::fault::{FaultKind, Run, stop};
use crate::isa::Address;
use crate::lanes::{Lanes, set_lanes};
use crate::mbarrier::Arrival;
use crate::memory::WHOLE_WORD;
use crate::meter::Traffic;

/// The bytes of which sizes and addresses are multiples.
const UNIT: u32 = 16;

impl Exec<'_, '_> {
    /// Executes a copy of each lane of `active`.
    pub(crate) fn bulk(&mut self, access: &BulkAccess, active: u32) -> Run<()> {
        let (to, from) = (self.addresses(access.to), self.addresses(access.from));
        self.check_aligned(&to, active, UNIT)?;
        self.check_aligned(&from, active, UNIT)?;
        for lane in set_lanes(active) {
            let bytes = self.warp.registers.word(access.bytes)[lane as usize];
            if !bytes.is_multiple_of(UNIT) {
                let detail = format!("a copy of {bytes} bytes, which is no multiple of {UNIT}");
                return stop(FaultKind::Misaligned, lane, Some(to[lane as usize]), detail);
            }
            if let Some(mask) = access.multicast {
                self.check_multicast(lane, mask)?;
            }
            if bytes == 0 {
                continue;
            }
            let (to, from) = (to[lane as usize], from[lane as usize]);
            if access.barrier.is_some() {
                self.check_shared(lane, to, bytes, false)?;
            }
            let words = match access.way {
                BulkWay::FromGlobal => self.read_global(lane, from, bytes)?,
                BulkWay::ToGlobal | BulkWay::InShared => self.read_shared(lane, from, bytes)?,
            };
            match access.barrier {
                None => self.write_global(lane, to, &words)?,
                Some(barrier) => self.send(lane, to, words, barrier)?,
            }
        }
        Ok(())
    }

    /// Checks that a copy goes to the one block of its cluster.
    pub(super) fn check_multicast(&self, lane: u32, mask: u32) -> Run<()> {
        let blocks = self.warp.registers.word(mask)[lane as usize] & 0xffff;
        if blocks == 1 {
            return Ok(());
        }
        let detail = format!("a copy to the blocks {blocks:#x} of a cluster, which has one block");
        stop(FaultKind::OutOfBounds, lane, None, detail)
    }

    /// Reads words of global memory for one lane.
    pub(super) fn read_global(&mut self, lane: u32, at: u64, bytes: u32) -> Run<Vec<u32>> {
        let mut all: Lanes<u64> = [0; 32];
        all[lane as usize] = at;
        let (view, _) = self.view(&all, 1 << lane, bytes, Effect::Load)?;
        if self.env.checks != Checks::NONE {
            self.check_load(view, &all, 1 << lane, bytes, false)?;
        }
        self.count_bulk_global(lane, at, bytes);
        let first = ((at - view.buffer.at) / 4) as usize;
        Ok((first..first + bytes as usize / 4).map(|k| view.buffer.word(k).load(Relaxed)).collect())
    }

    /// Writes words of global memory for one lane.
    pub(super) fn write_global(&mut self, lane: u32, at: u64, words: &[u32]) -> Run<()> {
        let bytes = 4 * words.len() as u32;
        let mut all: Lanes<u64> = [0; 32];
        all[lane as usize] = at;
        let (view, _) = self.view(&all, 1 << lane, bytes, Effect::Store)?;
        let first = ((at - view.buffer.at) / 4) as usize;
        let same = || words.iter().enumerate().all(|(k, w)| view.buffer.word(first + k).load(Relaxed) == *w);
        self.note_global_write(view, lane, at, bytes, false, same)?;
        words.iter().enumerate().for_each(|(k, &word)| view.buffer.put(first + k, word, WHOLE_WORD));
        self.count_bulk_global(lane, at, bytes);
        Ok(())
    }

    /// Reads words of shared memory for one lane.
    pub(super) fn read_shared(&mut self, lane: u32, at: u64, bytes: u32) -> Run<Vec<u32>> {
        self.check_shared(lane, at, bytes, true)?;
        self.note_shared_read(lane, at, bytes, 1 << lane, false)?;
        self.count_bulk_shared(lane, bytes);
        let first = (at / 4) as usize;
        Ok(self.state.shared.words[first..first + bytes as usize / 4].to_vec())
    }

    /// Sends words to shared memory, where they land when a thread tests `barrier`.
    pub(super) fn send(&mut self, lane: u32, to: u64, words: Vec<u32>, barrier: Address) -> Run<()> {
        let bytes = 4 * words.len() as u32;
        self.check_shared(lane, to, bytes, false)?;
        self.note_shared_write(lane, to, bytes, false, false)?;
        self.count_bulk_shared(lane, bytes);
        let first = (to / 4) as usize;
        let range = first..first + words.len();
        self.state.shared.bytes[range].iter_mut().for_each(|bytes| *bytes &= !WHOLE_WORD);
        let at = self.addresses(barrier)[lane as usize];
        self.find_barrier_of_copy(lane, at)?;
        // Copies that do not overwrite each other all have room in shared memory.
        let flying: usize = self.state.mbarriers.arrivals.iter().map(|a| a.words.len()).sum();
        if flying + words.len() > self.state.shared.words.len() {
            let detail = "more bytes are under way than shared memory has: copies to the same place that no wait separates";
            return stop(FaultKind::PartialBarrier, lane, Some(at), detail);
        }
        let known = self.release();
        let arrival = Arrival { barrier: at as u32, to: to as u32, words, known };
        self.state.mbarriers.arrivals.push(arrival);
        Ok(())
    }

    /// Lands the copies that report to the barrier at an offset of shared memory.
    pub(super) fn land_bulk(&mut self, barrier: u32) -> Run<()> {
        if self.state.mbarriers.arrivals.is_empty() {
            return Ok(());
        }
        let all = std::mem::take(&mut self.state.mbarriers.arrivals);
        let (here, rest) = all.into_iter().partition(|a: &Arrival| a.barrier == barrier);
        self.state.mbarriers.arrivals = rest;
        for Arrival { to, words, known, .. } in here {
            let first = (to / 4) as usize;
            let range = first..first + words.len();
            self.state.shared.words[range.clone()].copy_from_slice(&words);
            self.state.shared.bytes[range].iter_mut().for_each(|bytes| *bytes |= WHOLE_WORD);
            self.complete_bytes(barrier, 4 * words.len() as u32, &known)?;
        }
        Ok(())
    }

    /// Counts a request for global memory.
    pub(super) fn count_bulk_global(&mut self, lane: u32, at: u64, bytes: u32) {
        let sectors = (at + u64::from(bytes) - 1) / 32 - at / 32 + 1;
        let traffic = Traffic { sectors, ..self.request(1 << lane, bytes) };
        self.traffic().global += traffic;
    }

    /// Counts a request for shared memory, which a bulk copy makes without conflicts.
    fn count_bulk_shared(&mut self, lane: u32, bytes: u32) {
        let wavefronts = u64::from(bytes.div_ceil(128));
        let traffic = Traffic { wavefronts, ideal_wavefronts: wavefronts, ..self.request(1 << lane, bytes) };
        self.traffic().shared += traffic;
    }
}
