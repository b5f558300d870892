//! Atomics and reductions in memory, and asynchronous copies.

use std::sync::atomic::Ordering::SeqCst;

use crate::access::word_mask;
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::float::Lanes;
use crate::global_access::Does;
use crate::isa::{AsyncCopy, Atomic, AtomicAccess};
use crate::meter::Traffic;
use crate::registers::each_lane;
use crate::shared::wavefronts;
use crate::types::{Space, Type};
use crate::warp::Flight;

/// `f` of whole numbers of 32 bits.
pub(crate) fn combine32(f: Atomic, signed: bool, old: u32, x: u32) -> u32 {
    match f {
        Atomic::Add => old.wrapping_add(x),
        Atomic::Min if signed => (old as i32).min(x as i32) as u32,
        Atomic::Max if signed => (old as i32).max(x as i32) as u32,
        Atomic::Min => old.min(x),
        Atomic::Max => old.max(x),
        Atomic::And => old & x,
        Atomic::Or => old | x,
        Atomic::Xor => old ^ x,
        Atomic::Exch => x,
        Atomic::Inc => {
            if old >= x {
                0
            } else {
                old + 1
            }
        }
        Atomic::Dec => {
            if old == 0 || old > x {
                x
            } else {
                old - 1
            }
        }
        Atomic::Cas => unreachable!("needs the compared value"),
    }
}

/// The new value, from the old one and the operands.
fn combine(access: &AtomicAccess, old: u64, a: u64, b: u64) -> u64 {
    if access.op == Atomic::Cas {
        return if old == a { b } else { old };
    }
    match (access.ty, access.op) {
        (Type::F32, _) => u64::from((f32::from_bits(old as u32) + f32::from_bits(a as u32)).to_bits()),
        (Type::F64, _) => (f64::from_bits(old) + f64::from_bits(a)).to_bits(),
        (ty, Atomic::Min) if ty.bits() == 64 => {
            if ty.signed() {
                (old as i64).min(a as i64) as u64
            } else {
                old.min(a)
            }
        }
        (ty, Atomic::Max) if ty.bits() == 64 => {
            if ty.signed() {
                (old as i64).max(a as i64) as u64
            } else {
                old.max(a)
            }
        }
        (ty, op) if ty.bits() == 64 => match op {
            Atomic::Add => old.wrapping_add(a),
            Atomic::And => old & a,
            Atomic::Or => old | a,
            Atomic::Xor => old ^ a,
            _ => a,
        },
        (ty, op) => u64::from(combine32(op, ty.signed(), old as u32, a as u32)),
    }
}

impl Exec<'_, '_> {
    pub(crate) fn atomic(&mut self, access: &AtomicAccess, active: u32) -> Run<()> {
        let at = self.addresses(access.address);
        match access.space {
            Space::Shared => self.atomic_shared(access, &at, active),
            Space::Generic => self.by_space(&at, active, |exec, space, at, lanes| match space {
                Space::Shared => exec.atomic_shared(access, at, lanes),
                Space::Local => {
                    let lane = lanes.trailing_zeros();
                    stop(FaultKind::OutOfBounds, lane, Some(at[lane as usize]), "an atomic on local memory")
                }
                _ => exec.atomic_global(access, at, lanes),
            }),
            _ => self.atomic_global(access, &at, active),
        }
    }

    fn operand(&self, access: &AtomicAccess, slot: u32, lane: usize) -> u64 {
        let r = &self.warp.registers;
        if access.ty.bits() == 64 { r.double(slot)[lane] } else { u64::from(r.word(slot)[lane]) }
    }

    fn give(&mut self, access: &AtomicAccess, lane: usize, old: u64) {
        let Some(d) = access.dest else { return };
        let r = &mut self.warp.registers;
        if access.ty.bits() == 64 {
            r.doubles[d as usize][lane] = old;
        } else {
            r.words[d as usize][lane] = old as u32;
        }
    }

    fn atomic_shared(&mut self, access: &AtomicAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.ty.bytes();
        self.check_aligned(at, active, bytes)?;
        let (passes, ideal) = wavefronts(&at.map(|a| a as u32), active, bytes);
        self.count_atomic(active, bytes, passes, ideal);
        for lane in (0..32).filter(|l| active >> l & 1 == 1) {
            let here = at[lane as usize];
            self.check_shared(lane, here, bytes, true)?;
            self.note_shared_write(lane, here, bytes, true, false)?;
            let (a, b) = (
                self.operand(access, access.a, lane as usize),
                self.operand(access, access.b, lane as usize),
            );
            let first = (here / 4) as usize;
            let words = &mut self.state.shared.words;
            let wide = bytes == 8;
            let old = u64::from(words[first]) | if wide { u64::from(words[first + 1]) << 32 } else { 0 };
            let new = combine(access, old, a, b);
            words[first] = new as u32;
            if wide {
                words[first + 1] = (new >> 32) as u32;
            }
            self.give(access, lane as usize, old);
        }
        Ok(())
    }

    fn count_atomic(&mut self, active: u32, bytes: u32, passes: u64, ideal: u64) {
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

    fn atomic_global(&mut self, access: &AtomicAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.ty.bytes();
        self.count_global(at, active, bytes);
        self.check_aligned(at, active, bytes)?;
        let env = self.env;
        for lane in (0..32u32).filter(|l| active >> l & 1 == 1) {
            let here = at[lane as usize];
            let (view, _) = self.view(at, 1 << lane, bytes, Does::Atomic)?;
            self.note_global_write(view, lane, here, bytes, true, || false)?;
            let buffer = &view.buffer;
            let first = ((here - buffer.at) / 4) as usize;
            let written = (0..bytes as usize / 4).all(|k| buffer.has(first + k, 0xf));
            if env.options.checks && !written {
                let detail = format!("byte {} of a buffer, which nothing wrote", here - view.at);
                return stop(FaultKind::Uninitialised, lane, Some(here), detail);
            }
            let (a, b) = (
                self.operand(access, access.a, lane as usize),
                self.operand(access, access.b, lane as usize),
            );
            let old = if bytes == 8 {
                let _held = env.wide_atomics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let old = u64::from(buffer.word(first).load(SeqCst))
                    | u64::from(buffer.word(first + 1).load(SeqCst)) << 32;
                let new = combine(access, old, a, b);
                buffer.put(first, new as u32, 0xf);
                buffer.put(first + 1, (new >> 32) as u32, 0xf);
                old
            } else {
                let word = buffer.word(first);
                let update = |old| Some(combine(access, u64::from(old), a, b) as u32);
                u64::from(word.fetch_update(SeqCst, SeqCst, update).unwrap_or_default())
            };
            self.give(access, lane as usize, old);
        }
        Ok(())
    }

    /// The bytes under way count as not written until the copy is waited for, and as being written from now on.
    pub(crate) fn copy_async(&mut self, copy: &AsyncCopy, active: u32) -> Run<()> {
        let to = self.addresses(copy.to);
        // `cp.async` takes generic addresses in its global operand and shared ones in the other.
        let from = self.addresses(copy.from);
        self.check_aligned(&to, active, copy.bytes)?;
        self.check_aligned(&from, active, copy.bytes)?;
        let (passes, ideal) = wavefronts(&to.map(|a| a as u32), active, copy.bytes);
        self.count_atomic(active, copy.bytes, passes, ideal);
        let taken = copy.source_bytes.map_or([copy.bytes; 32], |s| *self.warp.registers.word(s));
        // Lanes that take no bytes write zeros and read nothing.
        let reading = (0..32).filter(|&l| taken[l] > 0).fold(0, |mask, l| mask | 1 << l);
        self.count_global(&from, active & reading, copy.bytes);
        for lane in (0..32u32).filter(|l| active >> l & 1 == 1) {
            let at = to[lane as usize];
            self.check_shared(lane, at, copy.bytes, false)?;
            self.note_shared_write(lane, at, copy.bytes, false, false)?;
            let mask = word_mask(at, copy.bytes);
            let first = (at / 4) as usize;
            for state in &mut self.state.shared.state[first..first + copy.bytes as usize / 4] {
                *state &= !mask;
            }
            if taken[lane as usize] > copy.bytes {
                let detail = format!("a copy of {} bytes takes {}", copy.bytes, taken[lane as usize]);
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

    pub(crate) fn copy_commit(&mut self, active: u32) {
        each_lane(active, |l| self.warp.committed[l] += 1);
    }

    /// Lands the copies of all but the newest `pending` groups; None also those in no group.
    pub(crate) fn copy_wait(&mut self, pending: Option<u32>, active: u32) -> Run<()> {
        let mut flights = std::mem::take(&mut self.warp.flights);
        for flight in &mut flights {
            let flying = active & flight.mask;
            for lane in (0..32usize).filter(|l| flying >> l & 1 == 1) {
                let landed = match pending {
                    None => true,
                    Some(n) => flight.group[lane].saturating_add(n) < self.warp.committed[lane],
                };
                if landed {
                    flight.mask &= !(1 << lane);
                    self.land(flight, lane)?;
                }
            }
        }
        flights.retain(|f| f.mask != 0);
        self.warp.flights = flights;
        Ok(())
    }

    fn land(&mut self, flight: &Flight, lane: usize) -> Run<()> {
        let bytes = flight.copy.bytes;
        let taken = flight.source_bytes[lane];
        let mut words = [0u32; 4];
        if taken > 0 {
            let (view, _) = self.view(&flight.from, 1 << lane, taken, Does::Load)?;
            if self.env.options.checks {
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
        self.state.shared.state[range.clone()].iter_mut().for_each(|s| *s |= 0xf);
        self.state.shared.words[range].copy_from_slice(&words[..bytes as usize / 4]);
        Ok(())
    }
}
