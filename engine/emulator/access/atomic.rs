//! Atomics and reductions in memory (`atom` and `red`).

use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::global::Effect;
use super::words::word_mask;
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::float::flush;
use crate::half_float::{add, extreme};
use crate::integer::combine32;
use crate::isa::{Atomic, AtomicAccess, Extreme, Small};
use crate::lanes::{Lanes, set_lanes};
use crate::memory::WHOLE_WORD;
use crate::types::{Space, Type};

/// The new value of the memory, which is `in_global` or in shared memory, from its old value and the operands.
fn combine(access: &AtomicAccess, in_global: bool, old: u64, a: u64, b: u64) -> u64 {
    if access.op == Atomic::Cas {
        return if old == a { b } else { old };
    }
    match (access.ty, access.op) {
        (Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2, _) => {
            combine_halves(access, old as u32, a as u32)
        }
        (Type::F32, _) => {
            let (old, a) = (f32::from_bits(old as u32), f32::from_bits(a as u32));
            // Units beside global memory have no denormals; those beside shared memory have.
            let sum = if in_global { flush(flush(old) + flush(a)) } else { old + a };
            u64::from(sum.to_bits())
        }
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

/// [`combine`] of floats of 16 bits, alone or in pairs. They keep their denormals everywhere.
#[cold]
#[inline(never)]
fn combine_halves(access: &AtomicAccess, old: u32, a: u32) -> u64 {
    let format = match access.ty {
        Type::F16 | Type::F16x2 => Small::F16,
        _ => Small::Bf16,
    };
    let one = |old: u32, a: u32| {
        let (old, a) = (old as u16, a as u16);
        u64::from(match access.op {
            Atomic::Add => add(format, old, a),
            op => extreme(format, Extreme { max: op == Atomic::Max, nan: false, magnitude: false }, old, a),
        })
    };
    if access.ty.bits() == 16 { one(old, a) } else { one(old, a) | one(old >> 16, a >> 16) << 16 }
}

/// The bits of a word that an access to `bytes` bytes at `at` touches, and their position.
fn part(at: u64, bytes: u32) -> (u32, u32) {
    if bytes == 2 { (0xffff, (at % 4) as u32 * 8) } else { (u32::MAX, 0) }
}

impl Exec<'_, '_> {
    /// Executes for the lanes of `active`, lowest first.
    pub(crate) fn atomic(&mut self, access: &AtomicAccess, active: u32) -> Run<()> {
        let at = self.addresses(access.address);
        if access.dest.is_some() {
            self.poll();
        }
        self.before_release(access.order, active);
        let done = match access.space {
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
        };
        self.after_release(access.order);
        done
    }

    /// One lane's value of an operand.
    fn operand(&self, access: &AtomicAccess, slot: u32, lane: usize) -> u64 {
        let r = &self.warp.registers;
        if access.ty.bits() == 64 { r.double(slot)[lane] } else { u64::from(r.word(slot)[lane]) }
    }

    /// Gives one lane the old value, where the instruction asks for it.
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
        self.check_aligned(at, active, access.align)?;
        self.count_shared(at, active, bytes);
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            self.check_shared(lane, here, bytes, true)?;
            let (a, b) = (
                self.operand(access, access.a, lane as usize),
                self.operand(access, access.b, lane as usize),
            );
            let first = (here / 4) as usize;
            let words = &self.state.shared.words;
            let wide = bytes == 8;
            let (ones, shift) = part(here, bytes);
            let low = u64::from(words[first] >> shift & ones);
            let old = low | if wide { u64::from(words[first + 1]) << 32 } else { 0 };
            if access.op == Atomic::Cas && old != a {
                self.note_shared_read(lane, here, bytes, 1 << lane, true)?;
            } else {
                self.note_shared_write(lane, here, bytes, true, false)?;
                self.publish(lane, here, access.order, Space::Shared);
            }
            self.see(lane, here, access.order, Space::Shared);
            if access.op == Atomic::Cas {
                self.clear_suspicion(lane, here, Space::Shared);
                let warp = self.warp.index;
                let cells = self.state.shared.cells(here, bytes);
                cells.iter_mut().for_each(|cell| cell.forget_read(warp, 1 << lane));
            }
            let words = &mut self.state.shared.words;
            let new = combine(access, false, old, a, b);
            words[first] = words[first] & !(ones << shift) | (new as u32 & ones) << shift;
            if wide {
                words[first + 1] = (new >> 32) as u32;
            }
            self.give(access, lane as usize, old);
        }
        Ok(())
    }

    fn atomic_global(&mut self, access: &AtomicAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = access.ty.bytes();
        self.count_global(at, active, bytes);
        self.check_aligned(at, active, access.align)?;
        let env = self.env;
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            let (view, _) = self.view(at, 1 << lane, bytes, Effect::Atomic)?;
            let buffer = &view.buffer;
            let first = ((here - buffer.at) / 4) as usize;
            let (ones, shift) = part(here, bytes);
            let (a, b) = (
                self.operand(access, access.a, lane as usize),
                self.operand(access, access.b, lane as usize),
            );
            let word = |k: usize| buffer.word(first + k).load(SeqCst);
            let low = || u64::from(word(0) >> shift & ones);
            let now = || low() | if bytes == 8 { u64::from(word(1)) << 32 } else { 0 };
            // One that fails only reads. If another worker is faster, it fails all the same, and has published too much.
            if access.op == Atomic::Cas && now() != a {
                self.note_failed_cas(view, lane, here, bytes)?;
            } else {
                self.note_global_write(view, lane, here, bytes, true, || false)?;
                self.publish(lane, here, access.order, Space::Global);
            }
            let mask = word_mask(here - buffer.at, bytes);
            let written = (0..bytes.div_ceil(4) as usize).all(|k| buffer.has(first + k, mask));
            if !written {
                self.unwritten(
                    lane,
                    here,
                    format!("byte {} of a buffer, which nothing wrote", here - view.at),
                )?;
            }
            let old = if bytes == 8 {
                let _held = env.wide_atomics.lock().unwrap_or_else(PoisonError::into_inner);
                let old = u64::from(buffer.word(first).load(SeqCst))
                    | u64::from(buffer.word(first + 1).load(SeqCst)) << 32;
                let new = combine(access, true, old, a, b);
                buffer.put(first, new as u32, WHOLE_WORD);
                buffer.put(first + 1, (new >> 32) as u32, WHOLE_WORD);
                old
            } else {
                let word = buffer.word(first);
                let update = |word: u32| {
                    let new = combine(access, true, u64::from(word >> shift & ones), a, b) as u32;
                    Some(word & !(ones << shift) | (new & ones) << shift)
                };
                u64::from(word.fetch_update(SeqCst, SeqCst, update).unwrap_or_default() >> shift & ones)
            };
            self.see(lane, here, access.order, Space::Global);
            if access.op == Atomic::Cas {
                self.clear_suspicion(lane, here, Space::Global);
                if let Some(shadow) = &view.shadow {
                    self.granules(view, here, bytes)
                        .for_each(|g| shadow.forget_read(g, self.note(lane, false)));
                }
            }
            self.give(access, lane as usize, old);
        }
        Ok(())
    }
}
