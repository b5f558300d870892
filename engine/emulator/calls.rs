//! Calls of functions that lie out of line: frames on a stack of the warp, of which each lane uses its own.

use std::ops::Range;

use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::frames::Frame;
use crate::isa::{NO_SLOT, Slot};
use crate::lanes::{each_lane, lanes_where, set_lanes};
use crate::program::{FunctionCode, Place, function_number};
use crate::warp::Wait;

/// The most bytes of local memory of a thread, frames included.
const MOST_STACK: u32 = 64 << 10;
/// The most bytes of registers that the frames of a warp keep.
const MOST_SAVED: usize = 4 << 20;

/// The register ranges of a function, in the order of [`crate::registers::Saved`].
fn ranges(function: &FunctionCode) -> [Range<Slot>; 3] {
    [function.words.clone(), function.doubles.clone(), function.preds.clone()]
}

impl Exec<'_, '_> {
    /// Calls the function of a site, or for each lane the one at its address in `a`, and queues the lanes there.
    #[cold]
    #[inline(never)]
    pub(crate) fn call(&mut self, site: u32, a: Slot, active: u32) -> Run<()> {
        let program = self.env.program.clone();
        let site = &program.calls[site as usize];
        if a == NO_SLOT {
            return match site.target {
                Some(function) => self.enter(function, &site.args, &site.returns, active),
                None => stop(FaultKind::Unsupported, 0, None, "a call without a target"),
            };
        }
        let addresses = *self.warp.registers.double(a);
        let mut rest = active;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let wanted = addresses[lane as usize];
            let same = lanes_where(rest, |l| addresses[l] == wanted);
            rest &= !same;
            let fault = |what: &str| stop(FaultKind::OutOfBounds, lane, Some(wanted), what);
            let Some(number) = function_number(wanted) else {
                return fault("a call of what is no function");
            };
            let sizes = |places: &[Place]| places.iter().map(|p| p.bytes).collect::<Vec<_>>();
            let alike = |f: &FunctionCode| {
                f.number == number
                    && f.params.iter().map(|p| p.1).eq(sizes(&site.args))
                    && f.returns.iter().map(|p| p.1).eq(sizes(&site.returns))
            };
            let Some(function) = program.functions.iter().position(alike) else {
                return fault("a call of a function whose parameters have other sizes, or of none");
            };
            self.enter(function as u32, &site.args, &site.returns, same)?;
        }
        Ok(())
    }

    /// Gives lanes a frame of a function, copies their arguments to it, and queues them at its first instruction.
    fn enter(&mut self, number: u32, args: &[Place], returns: &[Place], lanes: u32) -> Run<()> {
        let program = self.env.program.clone();
        let function = &program.functions[number as usize];
        let Some(pointer) = program.frame_pointer else { return Ok(()) };
        let warp = &mut *self.warp;
        let callers = *warp.registers.double(pointer);
        let tops = warp.stack.tops;
        let mut bases = callers;
        let mut end = 0;
        each_lane(lanes, |l| {
            let base = tops[l].next_multiple_of(function.frame_align);
            bases[l] = u64::from(base);
            warp.stack.tops[l] = base + function.frame_bytes;
            end = end.max(base + function.frame_bytes);
        });
        if end > MOST_STACK {
            let lane = set_lanes(lanes).max_by_key(|&l| warp.stack.tops[l as usize]).unwrap_or(0);
            let detail =
                format!("the frames of nested calls need more than {MOST_STACK} bytes of local memory");
            return stop(FaultKind::StackOverflow, lane, None, detail);
        }
        let words = end.div_ceil(4) as usize;
        if words > warp.local.len() {
            warp.local.resize(words, [u32::MAX; 32]);
            warp.local_written.resize(words, [0; 4]);
        }
        each_lane(lanes, |l| {
            let first = (bases[l] / 4) as usize;
            for written in &mut warp.local_written[first..first + function.frame_bytes as usize / 4] {
                written.iter_mut().for_each(|lanes| *lanes &= !(1 << l));
            }
        });
        // A function that the lanes are in already is called again: its registers are still needed.
        let again = warp.stack.frames.iter().any(|f| f.function == number && f.lanes & lanes != 0);
        let saved = again.then(|| warp.registers.save(ranges(function), lanes));
        warp.stack.saved += saved.as_ref().map_or(0, |saved| saved.bytes());
        if warp.stack.saved > MOST_SAVED {
            let detail = format!("the registers of nested calls need more than {MOST_SAVED} bytes");
            return stop(FaultKind::StackOverflow, lanes.trailing_zeros(), None, detail);
        }
        warp.registers.forget(ranges(function), lanes);
        for (from, &(at, bytes)) in args.iter().zip(&function.params) {
            let to = Place { at, bytes, in_frame: true };
            self.copy_local((from, &callers), (&to, &bases), lanes);
        }
        let warp = &mut *self.warp;
        warp.stack.frames.push(Frame {
            lanes,
            back: self.pc + 1,
            function: number,
            returns: returns.to_vec(),
            pointers: callers,
            tops,
            saved,
        });
        warp.registers.set_double(pointer, &bases, lanes);
        warp.put(function.entry, lanes, Wait::Ready);
        Ok(())
    }

    /// Returns each lane to where its last call came from.
    #[cold]
    #[inline(never)]
    pub(crate) fn return_from(&mut self, active: u32) -> Run<()> {
        let program = self.env.program.clone();
        let Some(pointer) = program.frame_pointer else { return Ok(()) };
        let mut rest = active;
        for at in (0..self.warp.stack.frames.len()).rev() {
            let lanes = self.warp.stack.frames[at].lanes & rest;
            if lanes == 0 {
                continue;
            }
            rest &= !lanes;
            let mut frames = std::mem::take(&mut self.warp.stack.frames);
            let frame = &mut frames[at];
            let bases = *self.warp.registers.double(pointer);
            let function = &program.functions[frame.function as usize];
            for (&(from, bytes), to) in function.returns.iter().zip(&frame.returns) {
                let from = Place { at: from, bytes, in_frame: true };
                self.copy_local((&from, &bases), (to, &frame.pointers), lanes);
            }
            let warp = &mut *self.warp;
            if let Some(saved) = &frame.saved {
                warp.registers.restore(ranges(function), saved, lanes);
            }
            warp.registers.set_double(pointer, &frame.pointers, lanes);
            each_lane(lanes, |l| warp.stack.tops[l] = frame.tops[l]);
            warp.put(frame.back, lanes, Wait::Ready);
            frame.lanes &= !lanes;
            if frame.lanes == 0 {
                warp.stack.saved -= frame.saved.as_ref().map_or(0, |saved| saved.bytes());
                frames.remove(at);
            }
            self.warp.stack.frames = frames;
            if rest == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Copies a variable of local memory, and which bytes of it were written. Each place has its frame pointers.
    fn copy_local(
        &mut self,
        (from, from_frames): (&Place, &[u64; 32]),
        (to, to_frames): (&Place, &[u64; 32]),
        lanes: u32,
    ) {
        let warp = &mut *self.warp;
        let first = |place: &Place, frames: &[u64; 32], lane: usize| {
            let frame = if place.in_frame { frames[lane] as usize } else { 0 };
            (frame + place.at as usize) / 4
        };
        // Variables begin at multiples of 16 bytes with gaps between them, so that whole words are theirs.
        each_lane(lanes, |l| {
            let (source, target) = (first(from, from_frames, l), first(to, to_frames, l));
            for k in 0..from.bytes.div_ceil(4) as usize {
                warp.local[target + k][l] = warp.local[source + k][l];
                for byte in 0..4 {
                    let written = warp.local_written[source + k][byte] >> l & 1;
                    let into = &mut warp.local_written[target + k][byte];
                    *into = *into & !(1 << l) | written << l;
                }
            }
        });
    }

    /// Whether an access lies in one variable of a frame that a lane has open.
    #[cold]
    pub(crate) fn in_frame(&self, lane: u32, at: u64, bytes: u32) -> bool {
        let program = &self.env.program;
        let Some(pointer) = program.frame_pointer else { return false };
        // The frames of a lane from the last call outwards: each keeps where that of its caller begins.
        let mut base = self.warp.registers.double(pointer)[lane as usize];
        for frame in self.warp.stack.frames.iter().rev().filter(|f| f.lanes >> lane & 1 == 1) {
            if at >= base {
                let offset = at - base;
                return program.functions[frame.function as usize].placed.iter().any(|p| {
                    offset >= u64::from(p.at) && offset + u64::from(bytes) <= u64::from(p.at + p.bytes)
                });
            }
            base = frame.pointers[lane as usize];
        }
        false
    }
}
