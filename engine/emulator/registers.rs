//! The registers of a warp: 32 values for each register, and one bit per lane for each predicate.

use crate::isa::Slot;
use crate::lanes::{ALL_LANES, Lanes, each_lane};
use crate::program::Program;
use crate::written::Written;

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
}
