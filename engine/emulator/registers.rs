//! The registers of a warp: 32 values for each register, and one bit per lane for each predicate.

use std::ops::Range;

use crate::isa::Slot;
use crate::lanes::{ALL_LANES, Lanes, each_lane, set_lanes};
use crate::program::Program;
use crate::written::{Parts, Written};

/// The three register files of one warp.
#[derive(Debug, Clone)]
pub(crate) struct Registers {
    pub words: Vec<Lanes<u32>>,
    pub doubles: Vec<Lanes<u64>>,
    pub preds: Vec<u32>,
    /// The carry flag of each lane.
    pub carry: u32,
    /// What was written of the registers that [`crate::flow`] watches.
    pub written: Written,
}

/// What some lanes had in ranges of registers: for each register, the values of these lanes, lowest first.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    lanes: u32,
    words: Vec<u32>,
    doubles: Vec<u64>,
    preds: Vec<u32>,
    written: Vec<(usize, Parts)>,
}

impl Saved {
    /// The bytes that are kept.
    pub fn bytes(&self) -> usize {
        4 * (self.words.len() + self.preds.len())
            + 8 * self.doubles.len()
            + size_of::<(usize, Parts)>() * self.written.len()
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

impl Registers {
    /// Makes registers whose constants are filled in; special registers are not.
    pub fn new(program: &Program) -> Self {
        let mut all = Self {
            words: vec![[0; 32]; program.words as usize],
            doubles: vec![[0; 32]; program.doubles as usize],
            preds: vec![0; program.preds as usize],
            carry: 0,
            written: Written::new(program),
        };
        for &(slot, bits) in &program.word_constants {
            all.words[slot as usize] = [bits; 32];
        }
        for &(slot, bits) in &program.double_constants {
            all.doubles[slot as usize] = [bits; 32];
        }
        all
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
        let written = self.written.save(&ranges);
        let all = ranges.map(|r| r.start as usize..r.end as usize);
        let mut saved = Saved { lanes, written, ..Saved::default() };
        for word in &self.words[all[0].clone()] {
            saved.words.extend(set_lanes(lanes).map(|l| word[l as usize]));
        }
        for double in &self.doubles[all[1].clone()] {
            saved.doubles.extend(set_lanes(lanes).map(|l| double[l as usize]));
        }
        saved.preds.extend_from_slice(&self.preds[all[2].clone()]);
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
        self.written.restore(&saved.written, lanes);
    }
}
