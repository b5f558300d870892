//! The registers of a warp: 32 values for each register, and one bit per lane for each predicate.

use std::ops::Range;

use crate::extended::Extended;
use crate::isa::{NO_SLOT, Slot, Use};
use crate::lanes::{ALL_LANES, Lanes, each_lane, set_lanes};
use crate::operands::{moved, operands};
use crate::program::{Inst, Program};
use crate::types::RegisterFile;

/// The three register files of one warp.
#[derive(Debug, Clone)]
pub(crate) struct Registers {
    pub words: Vec<Lanes<u32>>,
    pub doubles: Vec<Lanes<u64>>,
    pub preds: Vec<u32>,
    /// The carry flag of each lane.
    pub carry: u32,
    /// Which lanes wrote each register, by [`index`] of its file. Registers that [`crate::flow`] does not watch count as
    /// written.
    written: [Vec<u32>; 3],
    /// The same at the start of a block.
    given: [Vec<u32>; 3],
}

/// What some lanes had in ranges of registers: for each register, the values of these lanes, lowest first.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    lanes: u32,
    words: Vec<u32>,
    doubles: Vec<u64>,
    preds: Vec<u32>,
    written: Vec<u32>,
}

impl Saved {
    /// The bytes that are kept.
    pub fn bytes(&self) -> usize {
        4 * (self.words.len() + self.preds.len() + self.written.len()) + 8 * self.doubles.len()
    }
}

/// Writes the lanes of `mask`.
#[inline(always)]
fn blend<T: Copy>(out: &mut Lanes<T>, v: &Lanes<T>, mask: u32) {
    if mask == ALL_LANES {
        *out = *v;
    } else {
        each_lane(mask, |l| out[l] = v[l]);
    }
}

/// The position of a register file in [`Registers::written`].
fn index(file: RegisterFile) -> usize {
    match file {
        RegisterFile::Word => 0,
        RegisterFile::Double => 1,
        RegisterFile::Pred => 2,
    }
}

impl Registers {
    /// Makes registers whose constants are filled in; special registers are not.
    pub fn new(program: &Program) -> Self {
        let mut given = [program.words, program.doubles, program.preds].map(|n| vec![ALL_LANES; n as usize]);
        for &(file, slot) in &program.watched {
            given[index(file)][slot as usize] = 0;
        }
        let mut all = Self {
            words: vec![[0; 32]; program.words as usize],
            doubles: vec![[0; 32]; program.doubles as usize],
            preds: vec![0; program.preds as usize],
            carry: 0,
            written: given.clone(),
            given,
        };
        for &(slot, bits) in &program.word_constants {
            all.words[slot as usize] = [bits; 32];
        }
        for &(slot, bits) in &program.double_constants {
            all.doubles[slot as usize] = [bits; 32];
        }
        all
    }

    /// Forgets which registers were written, for a new block.
    pub fn reset(&mut self) {
        for (written, given) in self.written.iter_mut().zip(&self.given) {
            written.copy_from_slice(given);
        }
    }

    #[inline(always)]
    pub fn word(&self, slot: Slot) -> &Lanes<u32> {
        &self.words[slot as usize]
    }

    #[inline(always)]
    pub fn double(&self, slot: Slot) -> &Lanes<u64> {
        &self.doubles[slot as usize]
    }

    #[inline(always)]
    pub fn pred(&self, slot: Slot) -> u32 {
        self.preds[slot as usize]
    }

    #[inline(always)]
    pub fn set_word(&mut self, slot: Slot, v: &Lanes<u32>, mask: u32) {
        blend(&mut self.words[slot as usize], v, mask);
    }

    #[inline(always)]
    pub fn set_double(&mut self, slot: Slot, v: &Lanes<u64>, mask: u32) {
        blend(&mut self.doubles[slot as usize], v, mask);
    }

    #[inline(always)]
    pub fn set_pred(&mut self, slot: Slot, v: u32, mask: u32) {
        let p = &mut self.preds[slot as usize];
        *p = *p & !mask | v & mask;
    }

    /// Keeps what some lanes have in ranges of the three register files, in the order words, doubles and predicates.
    pub fn save(&self, ranges: [Range<Slot>; 3], lanes: u32) -> Saved {
        let all = ranges.map(|r| r.start as usize..r.end as usize);
        let mut saved = Saved { lanes, ..Saved::default() };
        for word in &self.words[all[0].clone()] {
            saved.words.extend(set_lanes(lanes).map(|l| word[l as usize]));
        }
        for double in &self.doubles[all[1].clone()] {
            saved.doubles.extend(set_lanes(lanes).map(|l| double[l as usize]));
        }
        saved.preds.extend_from_slice(&self.preds[all[2].clone()]);
        for (written, range) in self.written.iter().zip(all) {
            saved.written.extend_from_slice(&written[range]);
        }
        saved
    }

    /// Gives some of the lanes back what they had.
    pub fn restore(&mut self, ranges: [Range<Slot>; 3], saved: &Saved, lanes: u32) {
        let all = ranges.map(|r| r.start as usize..r.end as usize);
        let kept = saved.lanes.count_ones() as usize;
        // The place of each lane among those that were kept.
        let place = |lane: u32| (saved.lanes & ((1 << lane) - 1)).count_ones() as usize;
        for lane in set_lanes(lanes) {
            let (at, lane) = (place(lane), lane as usize);
            for (k, word) in self.words[all[0].clone()].iter_mut().enumerate() {
                word[lane] = saved.words[k * kept + at];
            }
            for (k, double) in self.doubles[all[1].clone()].iter_mut().enumerate() {
                double[lane] = saved.doubles[k * kept + at];
            }
        }
        for (pred, old) in self.preds[all[2].clone()].iter_mut().zip(&saved.preds) {
            *pred = *pred & !lanes | old & lanes;
        }
        let mut old = saved.written.iter();
        for (written, range) in self.written.iter_mut().zip(all) {
            for (written, old) in written[range].iter_mut().zip(&mut old) {
                *written = *written & !lanes | old & lanes;
            }
        }
    }

    /// Forgets that lanes have written the registers of a function, which begins.
    pub fn forget(&mut self, ranges: [Range<Slot>; 3], lanes: u32) {
        for ((written, given), range) in self.written.iter_mut().zip(&self.given).zip(ranges) {
            let range = range.start as usize..range.end as usize;
            for (written, given) in written[range.clone()].iter_mut().zip(&given[range]) {
                *written = *written & !lanes | given & lanes;
            }
        }
    }

    fn written(&mut self, file: RegisterFile, slot: Slot) -> &mut u32 {
        &mut self.written[index(file)][slot as usize]
    }

    /// Notes that the lanes of `mask` executed an instruction that writes watched registers. A move of what was never
    /// written writes nothing.
    pub fn note(&mut self, inst: &Inst, extended: &[Extended], mask: u32) {
        let mask = match moved(&inst.op) {
            Some((file, a)) if inst.suspect => mask & *self.written(file, a),
            _ => mask,
        };
        operands(&inst.op, extended, &mut |file, slot, how| {
            if how == Use::Write {
                *self.written(file, slot) |= mask;
            }
        });
    }

    /// A lane that would use a register that it has not written: `lanes` read the guard, `guarded` the operands.
    pub fn unwritten(&mut self, inst: &Inst, extended: &[Extended], lanes: u32, guarded: u32) -> Option<u32> {
        let mut missing = 0;
        if inst.guard != NO_SLOT {
            missing |= lanes & !*self.written(RegisterFile::Pred, inst.guard);
        }
        if moved(&inst.op).is_none() {
            operands(&inst.op, extended, &mut |file, slot, how| {
                if how == Use::Read {
                    missing |= guarded & !*self.written(file, slot);
                }
            });
        }
        if missing == 0 { None } else { Some(missing.trailing_zeros()) }
    }
}
