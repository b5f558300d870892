//! Atomics and reductions in memory (`atom` and `red`).

use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::global::Effect;
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::float::flush;
use crate::integer::combine32;
use crate::isa::{Atomic, AtomicAccess};
use crate::lanes::{Lanes, set_lanes};
use crate::memory::WHOLE_WORD;
use crate::types::{Space, Type};

/// The new value of the memory, which is `in_global` or in shared memory, from its old value and the operands.
fn combine(access: &AtomicAccess, in_global: bool, old: u64, a: u64, b: u64) -> u64 {
    if access.op == Atomic::Cas {
        return if old == a { b } else { old };
    }
    match (access.ty, access.op) {
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
        if access.op == Atomic::Cas {
            // Reads that follow are later than it.
            self.state.clock.advance();
        }
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
        self.check_aligned(at, active, bytes)?;
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
            let old = u64::from(words[first]) | if wide { u64::from(words[first + 1]) << 32 } else { 0 };
            if access.op == Atomic::Cas && old != a {
                self.note_shared_read(lane, here, bytes, 1 << lane, true)?;
            } else {
                self.note_shared_write(lane, here, bytes, true, false)?;
                self.publish(lane, here, access.order, Space::Shared);
            }
            self.see(lane, here, access.order, Space::Shared);
            if access.op == Atomic::Cas {
                self.clear_suspicion(lane, here, Space::Shared);
            }
            let words = &mut self.state.shared.words;
            let new = combine(access, false, old, a, b);
            words[first] = new as u32;
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
        self.check_aligned(at, active, bytes)?;
        let env = self.env;
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            let (view, _) = self.view(at, 1 << lane, bytes, Effect::Atomic)?;
            let buffer = &view.buffer;
            let first = ((here - buffer.at) / 4) as usize;
            let (a, b) = (
                self.operand(access, access.a, lane as usize),
                self.operand(access, access.b, lane as usize),
            );
            let word = |k: usize| u64::from(buffer.word(first + k).load(SeqCst));
            let now = || word(0) | if bytes == 8 { word(1) << 32 } else { 0 };
            // One that fails only reads. If another worker is faster, it fails all the same, and has published too much.
            if access.op == Atomic::Cas && now() != a {
                self.note_failed_cas(view, lane, here, bytes)?;
            } else {
                self.note_global_write(view, lane, here, bytes, true, || false)?;
                self.publish(lane, here, access.order, Space::Global);
            }
            let written = (0..bytes as usize / 4).all(|k| buffer.has(first + k, WHOLE_WORD));
            if !written {
                self.unwritten(
                    lane,
                    here,
                    format!("byte {} of {}, which nothing wrote", here - view.at, view.name),
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
                let update = |old| Some(combine(access, true, u64::from(old), a, b) as u32);
                u64::from(word.fetch_update(SeqCst, SeqCst, update).unwrap_or_default())
            };
            self.see(lane, here, access.order, Space::Global);
            if access.op == Atomic::Cas {
                self.clear_suspicion(lane, here, Space::Global);
            }
            self.give(access, lane as usize, old);
        }
        Ok(())
    }
}
