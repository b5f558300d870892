//! Loads and stores of global memory.

use std::sync::atomic::Ordering::Relaxed;

use super::address::uniform;
use super::race::Doing;
use super::words::{collect, deliver, word_mask};
use crate::args::Access;
use crate::checks::Checks;
use crate::env::View;
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, Stop, stop};
use crate::isa::{ALL_BYTES, MemoryAccess};
use crate::lanes::{Lanes, each_lane, lanes_where, map, set_lanes};
use crate::memory::{WHOLE_WORD, byte_mask};
use crate::meter::Traffic;
use crate::shadow::Note;
use crate::types::Space;

/// What an access does to the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Load,
    Store,
    Atomic,
}

impl<'e> Exec<'e, '_> {
    /// Loads for lanes whose addresses are those of global memory.
    pub(super) fn load_global(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.bytes();
        self.count_global(at, active, bytes);
        self.check_aligned(at, active, bytes)?;
        let mut rest = active;
        while rest != 0 {
            let (view, lanes) = self.view(at, rest, bytes, Effect::Load)?;
            rest &= !lanes;
            if self.env.checks != Checks::NONE {
                if access.used == ALL_BYTES {
                    self.check_load(view, at, lanes, bytes, access.order.strong())?;
                } else {
                    self.check_used(view, access, at, lanes)?;
                }
                self.check_coherent(view, access, at, lanes)?;
            }
            let buffer = &view.buffer;
            let offsets = map(at, |a| a.wrapping_sub(buffer.at));
            let word = |_: usize, index: usize| buffer.word(index).load(Relaxed);
            deliver(&mut self.warp.registers, access, &offsets, lanes, word);
        }
        if access.order.strong() {
            self.after_strong_load(access.order, at, active, Space::Global);
        }
        Ok(())
    }

    /// Checks a load of which only some bytes are used.
    #[cold]
    #[inline(never)]
    fn check_used(&self, view: &View, access: &MemoryAccess, at: &Lanes<u64>, lanes: u32) -> Run<()> {
        for byte in set_lanes(u32::from(access.used)).filter(|&byte| byte < access.bytes()) {
            let there = map(at, |a| a.wrapping_add(u64::from(byte)));
            self.check_load(view, &there, lanes, 1, access.order.strong())?;
        }
        Ok(())
    }

    /// Stores for lanes whose addresses are those of global memory.
    pub(super) fn store_global(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.bytes();
        self.count_global(at, active, bytes);
        self.check_aligned(at, active, bytes)?;
        if access.order.strong() {
            self.before_strong_store(access.order, at, active, Space::Global);
        }
        let mut rest = active;
        while rest != 0 {
            let (view, lanes) = self.view(at, rest, bytes, Effect::Store)?;
            rest &= !lanes;
            self.store_view(view, access, at, lanes)?;
        }
        self.after_release(access.order);
        Ok(())
    }

    /// Stores for lanes whose addresses lie in `view`.
    fn store_view(&mut self, view: &View, access: &MemoryAccess, at: &Lanes<u64>, lanes: u32) -> Run<()> {
        let bytes = access.bytes();
        let buffer = &view.buffer;
        // Neighbouring lanes that store parts of one word write them together.
        let mut part: Option<(usize, u32, u8)> = None;
        for lane in set_lanes(lanes) {
            let at = at[lane as usize];
            let data = collect(&self.warp.registers, access, lane as usize, at);
            let first = ((at - buffer.at) / 4) as usize;
            if view.shadow.is_some() {
                let bits = byte_mask(data.mask);
                let same = || {
                    (0..data.count)
                        .all(|k| (buffer.word(first + k).load(Relaxed) ^ data.words[k]) & bits == 0)
                };
                self.note_global_write(view, lane, at, bytes, access.order.strong(), same)?;
            }
            if data.mask == WHOLE_WORD {
                for k in 0..data.count {
                    buffer.put(first + k, data.words[k], WHOLE_WORD);
                }
                continue;
            }
            let bits = byte_mask(data.mask);
            match &mut part {
                Some((index, value, mask)) if *index == first => {
                    *value = *value & !bits | data.words[0] & bits;
                    *mask |= data.mask;
                }
                _ => {
                    if let Some((index, value, mask)) = part.replace((first, data.words[0] & bits, data.mask))
                    {
                        buffer.put(index, value, mask);
                    }
                }
            }
        }
        if let Some((index, value, mask)) = part {
            buffer.put(index, value, mask);
        }
        Ok(())
    }

    /// Counts a request for `bytes` bytes by each lane.
    pub(super) fn count_global(&mut self, at: &Lanes<u64>, active: u32, bytes: u32) {
        let traffic = Traffic { sectors: sectors(at, active), ..self.request(active, bytes) };
        self.traffic().global += traffic;
    }

    /// The view that the first lane of `active` may use, and all lanes whose accesses lie in it too.
    #[inline(always)]
    pub(super) fn view(
        &self,
        at: &Lanes<u64>,
        active: u32,
        bytes: u32,
        effect: Effect,
    ) -> Run<(&'e View, u32)> {
        let env = self.env;
        let lane = active.trailing_zeros();
        let bytes = u64::from(bytes);
        let inside = |v: &View, at: u64| at >= v.at && at.checked_add(bytes).is_some_and(|end| end <= v.end);
        let allowed = |v: &View| effect == Effect::Load || v.access != Access::Read;
        let view = env.views.iter().find(|v| inside(v, at[lane as usize]) && allowed(v));
        let Some(view) = view else { return self.view_elsewhere(at, active, bytes, effect) };
        Ok((view, lanes_where(active, |l| inside(view, at[l]))))
    }

    /// A view that is none of the launch's buffers, but a part of the heap.
    #[cold]
    fn view_elsewhere(
        &self,
        at: &Lanes<u64>,
        active: u32,
        bytes: u64,
        effect: Effect,
    ) -> Run<(&'e View, u32)> {
        let lane = active.trailing_zeros();
        match self.heap_view(at, active, bytes)? {
            Some(found) => Ok(found),
            None => self.no_view(lane, at[lane as usize], bytes, effect),
        }
    }

    /// Says why the launch may not use an address.
    #[cold]
    fn no_view<T>(&self, lane: u32, at: u64, bytes: u64, effect: Effect) -> Run<T> {
        let views = &self.env.views;
        let end = at.saturating_add(bytes);
        let fail = |kind, detail: String| stop(kind, lane, Some(at), detail);
        if let Some(v) = views.iter().find(|v| at >= v.at && end <= v.end && effect != Effect::Load) {
            let constant = v.access == Access::Read;
            debug_assert!(constant, "a view that may be written was found before");
            return fail(FaultKind::ReadOnly, format!("byte {} of a buffer given for reading", at - v.at));
        }
        if let Some(v) = views.iter().find(|v| at >= v.at && at < v.end) {
            let detail = format!("{bytes} bytes at byte {} of a buffer of {}", at - v.at, v.end - v.at);
            return fail(FaultKind::OutOfBounds, detail);
        }
        if self.env.machine.buffer_at(at).is_some() {
            let named =
                views.iter().find(|v| self.env.machine.buffer_at(at).is_some_and(|b| b.at == v.buffer.at));
            return match named {
                Some(v) if at >= v.end => fail(
                    FaultKind::OutOfBounds,
                    format!("{} bytes past the end of an argument's memory", at - v.end),
                ),
                Some(v) => {
                    fail(FaultKind::OutOfBounds, format!("{} bytes before an argument's memory", v.at - at))
                }
                None => fail(
                    FaultKind::UnnamedBuffer,
                    "memory of the machine, but of none of the arguments".into(),
                ),
            };
        }
        let near = views.iter().min_by_key(|v| if at < v.at { v.at - at } else { at - v.end });
        let detail = match near {
            Some(v) if at >= v.end => format!("{} bytes past the end of the nearest buffer", at - v.end),
            Some(v) => format!("{} bytes before the nearest buffer", v.at - at),
            None => "the launch has no buffers".into(),
        };
        fail(FaultKind::OutOfBounds, detail)
    }

    /// Checks that the bytes of a load were written and that it does not race.
    #[inline(always)]
    pub(super) fn check_load(
        &self,
        view: &View,
        at: &Lanes<u64>,
        lanes: u32,
        bytes: u32,
        strong: bool,
    ) -> Run<()> {
        // One lane stands for all if they have the same address.
        let lanes = if uniform(at, lanes) { 1 << lanes.trailing_zeros() } else { lanes };
        if !view.buffer.is_whole() {
            for lane in set_lanes(lanes) {
                let offset = at[lane as usize] - view.buffer.at;
                let mask = word_mask(offset, bytes);
                let first = (offset / 4) as usize;
                if !(0..bytes.div_ceil(4) as usize).all(|k| view.buffer.has(first + k, mask)) {
                    let detail =
                        format!("byte {} of a buffer, which nothing wrote", at[lane as usize] - view.at);
                    self.unwritten(lane, at[lane as usize], detail)?;
                }
            }
        }
        let Some(shadow) = &view.shadow else { return Ok(()) };
        for lane in set_lanes(lanes) {
            let at = at[lane as usize];
            let note = self.note(lane, strong);
            for g in self.granules(view, at, bytes) {
                if view.access == Access::Write && !shadow.written(g) {
                    let detail =
                        format!("byte {} of an output, which this launch has not written yet", at - view.at);
                    self.unwritten(lane, at, detail)?;
                }
                if let Some(conflict) = shadow.read(g, note, &self.state.clock) {
                    self.race(lane, at, conflict, Doing::read(strong), Space::Global)?;
                }
            }
        }
        Ok(())
    }

    /// Checks that a load through the non-coherent cache does not see a store of the same launch, not even one of its own
    /// thread.
    fn check_coherent(&self, view: &View, access: &MemoryAccess, at: &Lanes<u64>, lanes: u32) -> Run<()> {
        let wanted = access.non_coherent && self.env.checks.nc_loads;
        let (true, Some(shadow)) = (wanted, &view.shadow) else { return Ok(()) };
        for lane in set_lanes(lanes) {
            let at = at[lane as usize];
            if self.granules(view, at, access.bytes()).any(|g| shadow.written(g)) {
                let detail = "a .nc load of what this launch wrote".into();
                self.report(Stop { kind: FaultKind::Race, lane, address: Some(at), detail })?;
            }
        }
        Ok(())
    }

    /// Notes a read by a `cas` that changes nothing, and stops where it races.
    pub(super) fn note_failed_cas(&self, view: &View, lane: u32, at: u64, bytes: u32) -> Run<()> {
        let Some(shadow) = &view.shadow else { return Ok(()) };
        let note = self.note(lane, true);
        let conflict = self.granules(view, at, bytes).find_map(|g| shadow.read(g, note, &self.state.clock));
        match conflict {
            None => Ok(()),
            Some(conflict) => self.race(lane, at, conflict, Doing::read(true), Space::Global),
        }
    }

    /// The note of an access by one lane now.
    #[inline(always)]
    pub(super) fn note(&self, lane: u32, atomic: bool) -> Note {
        Note::new(self.state.index, self.warp.index * 32 + lane, self.state.clock.now, atomic)
    }

    /// The granules that an access touches.
    #[inline(always)]
    pub(super) fn granules(&self, view: &View, at: u64, bytes: u32) -> std::ops::RangeInclusive<usize> {
        let granule = self.env.program.global_granule.trailing_zeros();
        let offset = at - view.at;
        (offset >> granule) as usize..=((offset + u64::from(bytes) - 1) >> granule) as usize
    }

    /// Notes a write by one lane, and stops where it races. `same` says whether the bytes to be written are there already.
    #[inline(always)]
    pub(super) fn note_global_write(
        &self,
        view: &View,
        lane: u32,
        at: u64,
        bytes: u32,
        atomic: bool,
        same: impl Fn() -> bool,
    ) -> Run<()> {
        let Some(shadow) = &view.shadow else { return Ok(()) };
        let note = self.note(lane, atomic);
        for g in self.granules(view, at, bytes) {
            if let Some(conflict) = shadow.write(g, note, &self.state.clock)
                && !(conflict.same_warp_writes && same())
            {
                self.race(lane, at, conflict, Doing::write(atomic), Space::Global)?;
            }
        }
        Ok(())
    }
}

/// The number of distinct sectors of 32 bytes.
#[inline(always)]
fn sectors(at: &Lanes<u64>, active: u32) -> u64 {
    let mut count = 0;
    let mut last = u64::MAX;
    let mut sorted = true;
    each_lane(active, |l| {
        let sector = at[l] / 32;
        if sector != last {
            sorted &= count == 0 || sector > last;
            count += 1;
            last = sector;
        }
    });
    if sorted { count } else { distinct(at, active) }
}

/// [`sectors`] of addresses in any order.
fn distinct(at: &Lanes<u64>, active: u32) -> u64 {
    let mut all = Vec::with_capacity(32);
    each_lane(active, |l| all.push(at[l] / 32));
    all.sort_unstable();
    all.dedup();
    all.len() as u64
}

#[cfg(test)]
mod tests {
    use super::sectors;

    #[test]
    fn sectors_are_counted_once_a_request() {
        let at = |f: fn(u64) -> u64| std::array::from_fn(|l| f(l as u64));
        assert_eq!(sectors(&at(|l| 4 * l), u32::MAX), 4);
        assert_eq!(sectors(&at(|l| 4 * (31 - l)), u32::MAX), 4);
        assert_eq!(sectors(&at(|l| 4 * (l % 4) + 1024), u32::MAX), 1);
        assert_eq!(sectors(&at(|l| 256 * (l % 2)), u32::MAX), 2);
        assert_eq!(sectors(&at(|l| 256 * l), 0x0f), 4);
    }
}
