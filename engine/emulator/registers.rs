//! The registers of a warp: one array of 32 values per register, one bit per lane for predicates.

use crate::float::Lanes;
use crate::flow::{moved, registers};
use crate::isa::{Slot, Use};
use crate::program::{Inst, Program};
use crate::types::File;

#[derive(Debug, Clone)]
pub(crate) struct Registers {
    pub words: Vec<Lanes<u32>>,
    pub doubles: Vec<Lanes<u64>>,
    pub preds: Vec<u32>,
    /// The carry flag of each lane.
    pub carry: u32,
    /// Which lanes wrote a watched register; see [`crate::flow`].
    written: [Vec<u32>; 3],
    /// The same at the start of a block: all but the watched.
    given: [Vec<u32>; 3],
}

/// Calls `f` for each lane of `mask`.
#[inline(always)]
pub(crate) fn each_lane(mask: u32, mut f: impl FnMut(usize)) {
    if mask == u32::MAX {
        (0..32).for_each(f);
    } else {
        let mut rest = mask;
        while rest != 0 {
            f(rest.trailing_zeros() as usize);
            rest &= rest - 1;
        }
    }
}

#[inline(always)]
fn blend<T: Copy>(out: &mut Lanes<T>, v: &Lanes<T>, mask: u32) {
    if mask == u32::MAX {
        *out = *v;
    } else {
        each_lane(mask, |l| out[l] = v[l]);
    }
}

fn index(file: File) -> usize {
    match file {
        File::Word => 0,
        File::Double => 1,
        File::Pred => 2,
    }
}

impl Registers {
    /// Constants are filled in, specials are not.
    pub fn new(program: &Program) -> Self {
        let mut given = [program.words, program.doubles, program.preds].map(|n| vec![u32::MAX; n as usize]);
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

    /// Forgets what was written.
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

    fn written(&mut self, file: File, slot: Slot) -> &mut u32 {
        &mut self.written[index(file)][slot as usize]
    }

    /// Notes a write to watched registers by the lanes of `mask`. A move of what was never written writes nothing.
    pub fn note(&mut self, inst: &Inst, mask: u32) {
        let mask = match moved(&inst.op) {
            Some((file, a)) if inst.suspect => mask & *self.written(file, a),
            _ => mask,
        };
        registers(&inst.op, &mut |file, slot, how| {
            if how == Use::Write {
                *self.written(file, slot) |= mask;
            }
        });
    }

    /// A lane that would use a register it has not written; `lanes` look at the guard, `guarded` at the operands.
    pub fn unwritten(&mut self, inst: &Inst, lanes: u32, guarded: u32) -> Option<u32> {
        let mut missing = 0;
        if inst.guard != Slot::MAX {
            missing |= lanes & !*self.written(File::Pred, inst.guard);
        }
        if moved(&inst.op).is_none() {
            registers(&inst.op, &mut |file, slot, how| {
                if how == Use::Read {
                    missing |= guarded & !*self.written(file, slot);
                }
            });
        }
        if missing == 0 { None } else { Some(missing.trailing_zeros()) }
    }
}
