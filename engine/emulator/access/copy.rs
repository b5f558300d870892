//! Asynchronous copies from global to shared memory (`cp.async`).

use std::sync::atomic::Ordering::SeqCst;

use super::global::Effect;
use super::words::word_mask;
use crate::checks::Checks;
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::isa::AsyncCopy;
use crate::lanes::{each_lane, lanes_where, set_lanes};
use crate::memory::WHOLE_WORD;
use crate::warp::Flight;

impl Exec<'_, '_> {
    /// Starts copies. The bytes under way count as not written until a thread has waited for them, and as being written
    /// from now on.
    pub(crate) fn copy_async(&mut self, copy: &AsyncCopy, active: u32) -> Run<()> {
        let to = self.addresses(copy.to);
        // `cp.async` takes generic addresses in its global operand and shared ones in the other.
        let from = self.addresses(copy.from);
        self.check_aligned(&to, active, copy.bytes)?;
        self.check_aligned(&from, active, copy.bytes)?;
        self.count_shared(&to, active, copy.bytes);
        let taken = copy.source_bytes.map_or([copy.bytes; 32], |s| *self.warp.registers.word(s));
        // Lanes that take no bytes write zeros and read nothing.
        self.count_global(&from, lanes_where(active, |l| taken[l] > 0), copy.bytes);
        for lane in set_lanes(active) {
            let at = to[lane as usize];
            self.check_shared(lane, at, copy.bytes, false)?;
            self.note_shared_write(lane, at, copy.bytes, false, false)?;
            let mask = word_mask(at, copy.bytes);
            let first = (at / 4) as usize;
            for bytes in &mut self.state.shared.bytes[first..first + copy.bytes as usize / 4] {
                *bytes &= !mask;
            }
            if taken[lane as usize] > copy.bytes {
                let detail =
                    format!("a copy of {} bytes takes {} from its source", copy.bytes, taken[lane as usize]);
                return stop(FaultKind::OutOfBounds, lane, Some(from[lane as usize]), detail);
            }
        }
        self.warp.flights.push(Flight {
            copy: *copy,
            to: to.map(|a| a as u32),
            from,
            source_bytes: taken,
            mask: active,
            group: self.warp.committed,
        });
        Ok(())
    }

    /// Closes the commit group of each lane.
    pub(crate) fn copy_commit(&mut self, active: u32) {
        each_lane(active, |l| self.warp.committed[l] += 1);
    }

    /// Lands the copies of all but the newest `pending` groups; `None` also lands those that are in no group.
    pub(crate) fn copy_wait(&mut self, pending: Option<u32>, active: u32) -> Run<()> {
        let mut flights = std::mem::take(&mut self.warp.flights);
        for flight in &mut flights {
            let flying = active & flight.mask;
            for lane in set_lanes(flying) {
                let landed = match pending {
                    None => true,
                    Some(n) => {
                        flight.group[lane as usize].saturating_add(n) < self.warp.committed[lane as usize]
                    }
                };
                if landed {
                    flight.mask &= !(1 << lane);
                    self.land(flight, lane as usize)?;
                }
            }
        }
        flights.retain(|f| f.mask != 0);
        self.warp.flights = flights;
        Ok(())
    }

    /// Brings the bytes of one lane's copy to shared memory.
    fn land(&mut self, flight: &Flight, lane: usize) -> Run<()> {
        let bytes = flight.copy.bytes;
        let taken = flight.source_bytes[lane];
        let mut words = [0u32; 4];
        if taken > 0 {
            let (view, _) = self.view(&flight.from, 1 << lane, taken, Effect::Load)?;
            if self.env.checks != Checks::NONE {
                self.check_load(view, &flight.from, 1 << lane, taken, false)?;
            }
            let first = ((flight.from[lane] - view.buffer.at) / 4) as usize;
            for k in 0..taken.div_ceil(4) {
                let left = taken - 4 * k;
                let keep = if left >= 4 { u32::MAX } else { (1 << (8 * left)) - 1 };
                words[k as usize] = view.buffer.word(first + k as usize).load(SeqCst) & keep;
            }
        }
        let at = u64::from(flight.to[lane]);
        self.note_shared_write(lane as u32, at, bytes, false, false)?;
        let first = (at / 4) as usize;
        let range = first..first + bytes as usize / 4;
        self.state.shared.bytes[range.clone()].iter_mut().for_each(|bytes| *bytes |= WHOLE_WORD);
        self.state.shared.words[range].copy_from_slice(&words[..bytes as usize / 4]);
        Ok(())
    }
}
