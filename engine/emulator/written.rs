//! Which lanes have written which registers.
//!
//! Only registers that some path leaves unwritten are watched. Whatever is computed from what nothing wrote, moved or
//! shuffled out of it counts as unwritten too; a fault is to use it, as an address, as a guard, or as data that others can
//! see. Registers are followed in parts of 16 bits, because moves pack and unpack them.

use std::ops::Range;
use std::sync::Arc;

use crate::extended::Extended;
use crate::isa::{NO_SLOT, Op, Slot, Use};
use crate::lanes::{ALL_LANES, Lanes, set_lanes};
use crate::operands::{computes, operands, uses};
use crate::program::{Inst, Program, UNWATCHED};
use crate::types::RegisterFile::{self, Double, Pred, Word};

/// For each part of a register, from the lowest on, the lanes in which it is written.
pub(crate) type Parts = [u32; 4];

const ALL: Parts = [ALL_LANES; 4];

/// A register.
type Register = (RegisterFile, Slot);

/// What a warp has written of the watched registers.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// For each register of the three files, its number among the watched ones; [`UNWATCHED`] for others.
    numbers: Arc<[Vec<u32>; 3]>,
    /// One for each watched register.
    parts: Vec<Parts>,
    /// The register that nothing wrote from which the register was computed, where it was.
    origins: Vec<Option<usize>>,
}

/// Joins the lanes of `mask` from `new` with the others from `old`.
fn blend(old: Parts, new: Parts, mask: u32) -> Parts {
    std::array::from_fn(|k| old[k] & !mask | new[k] & mask)
}

impl Written {
    pub fn new(program: &Program) -> Self {
        let n = program.watched.len();
        Self { numbers: program.watched_numbers.clone(), parts: vec![[0; 4]; n], origins: vec![None; n] }
    }

    /// Forgets everything, for a new block.
    pub fn reset(&mut self) {
        self.parts.fill([0; 4]);
        self.origins.fill(None);
    }

    /// Keeps what was written of ranges of words, doubles and predicates.
    pub fn save(&self, ranges: &[Range<Slot>; 3]) -> Vec<(usize, Parts)> {
        self.watched(ranges).map(|at| (at, self.parts[at])).collect()
    }

    /// Gives lanes back what they had written.
    pub fn restore(&mut self, saved: &[(usize, Parts)], lanes: u32) {
        for &(at, old) in saved {
            self.parts[at] = blend(self.parts[at], old, lanes);
        }
    }

    /// Forgets that lanes have written the registers of a function, which begins.
    pub fn forget(&mut self, ranges: &[Range<Slot>; 3], lanes: u32) {
        let all: Vec<usize> = self.watched(ranges).collect();
        for at in all {
            self.parts[at] = blend(self.parts[at], [0; 4], lanes);
        }
    }

    /// The numbers of the watched registers in ranges of words, doubles and predicates.
    fn watched(&self, ranges: &[Range<Slot>; 3]) -> impl Iterator<Item = usize> {
        let files = [Word, Double, Pred].into_iter().zip(ranges);
        files.flat_map(move |(file, range)| range.clone().filter_map(move |slot| self.number((file, slot))))
    }

    /// Whether any register is watched.
    pub fn watches(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The number of a watched register.
    fn number(&self, (file, slot): Register) -> Option<usize> {
        match self.numbers[file as usize].get(slot as usize) {
            None | Some(&UNWATCHED) => None,
            Some(&at) => Some(at as usize),
        }
    }

    /// What is written of a register; all of one that is not watched.
    fn get(&self, register: Register) -> Parts {
        self.number(register).map_or(ALL, |at| self.parts[at])
    }

    /// The lanes in which all of a register is written.
    fn whole(&self, (file, slot): Register) -> u32 {
        let parts = self.get((file, slot));
        let used = match file {
            Word => 2,
            Double => 4,
            Pred => 1,
        };
        parts[..used].iter().fold(ALL_LANES, |all, part| all & part)
    }

    /// Notes what the lanes of `mask` wrote to a register, with the register from which it comes.
    fn set(&mut self, register: Register, new: Parts, mask: u32, from: Option<Register>) {
        let Some(at) = self.number(register) else { return };
        self.parts[at] = blend(self.parts[at], new, mask);
        if let Some(from) = from.and_then(|from| self.number(from)) {
            self.origins[at] = Some(self.origins[from].unwrap_or(from));
        }
    }

    /// Notes that the lanes of `mask` executed an instruction that writes watched registers. Shuffles note their result
    /// themselves.
    pub fn note(&mut self, op: &Op, extended: &[Extended], mask: u32, pred: impl Fn(Slot) -> u32) {
        match *op {
            Op::Move { d, a } => self.set((Word, d), self.get((Word, a)), mask, Some((Word, a))),
            Op::Move64 { d, a } => self.set((Double, d), self.get((Double, a)), mask, Some((Double, a))),
            Op::Pack64 { d, low, high } => {
                let (l, h) = (self.get((Word, low)), self.get((Word, high)));
                let from = if self.whole((Word, low)) & mask == mask { high } else { low };
                self.set((Double, d), [l[0], l[1], h[0], h[1]], mask, Some((Word, from)));
            }
            Op::Unpack64 { low, high, a } => {
                let [p, q, r, s] = self.get((Double, a));
                self.set((Word, low), [p, q, ALL_LANES, ALL_LANES], mask, Some((Double, a)));
                self.set((Word, high), [r, s, ALL_LANES, ALL_LANES], mask, Some((Double, a)));
            }
            Op::Pack32 { d, low, high } => {
                let (l, h) = (self.get((Word, low)), self.get((Word, high)));
                let from = if l[0] & mask == mask { high } else { low };
                self.set((Word, d), [l[0], h[0], ALL_LANES, ALL_LANES], mask, Some((Word, from)));
            }
            Op::Unpack32 { low, high, a } => {
                let [p, q, ..] = self.get((Word, a));
                self.set((Word, low), [p, ALL_LANES, ALL_LANES, ALL_LANES], mask, Some((Word, a)));
                self.set((Word, high), [q, ALL_LANES, ALL_LANES, ALL_LANES], mask, Some((Word, a)));
            }
            Op::Select { d, a, b, p } => self.select(Word, (d, a, b, p), pred(p), mask),
            Op::Select64 { d, a, b, p } => self.select(Double, (d, a, b, p), pred(p), mask),
            Op::Shuffle { p, .. } => {
                if let Some(p) = p {
                    self.set((Pred, p), ALL, mask, None);
                }
            }
            _ => self.compute(op, extended, mask),
        }
    }

    fn select(&mut self, file: RegisterFile, (d, a, b, p): (Slot, Slot, Slot, Slot), first: u32, mask: u32) {
        let chosen = blend(self.get((file, b)), self.get((file, a)), first);
        let known = self.whole((Pred, p));
        let from = if known & mask != mask {
            (Pred, p)
        } else if first & !self.whole((file, a)) & mask != 0 {
            (file, a)
        } else {
            (file, b)
        };
        self.set((file, d), chosen.map(|part| part & known), mask, Some(from));
    }

    /// Notes the results of an operation that needs all of its operands.
    fn compute(&mut self, op: &Op, extended: &[Extended], mask: u32) {
        let (mut known, mut from) = (ALL_LANES, None);
        if computes(op) {
            operands(op, extended, &mut |file, slot, how| {
                let whole = if how == Use::Read { self.whole((file, slot)) } else { ALL_LANES };
                if whole & mask != mask {
                    from = from.or(Some((file, slot)));
                }
                known &= whole;
            });
        }
        let mut results = Vec::with_capacity(2);
        operands(op, extended, &mut |file, slot, how| {
            if how == Use::Write {
                results.push((file, slot));
            }
        });
        for result in results {
            self.set(result, [known; 4], mask, from);
        }
    }

    /// Notes that the lanes of `mask` took each the register `a` of another lane.
    #[cold]
    pub fn shuffle(&mut self, d: Slot, a: Slot, sources: &Lanes<u32>, mask: u32) {
        let old = self.get((Word, a));
        let new = old.map(|part| {
            set_lanes(mask).fold(0, |all, lane| all | (part >> (sources[lane as usize] & 31) & 1) << lane)
        });
        self.set((Word, d), new, mask, Some((Word, a)));
    }

    /// A lane that would use a register that is not written, the register, and the one from which that was computed:
    /// `lanes` use the guard, `guarded` the operands.
    pub fn missing(
        &self,
        inst: &Inst,
        extended: &[Extended],
        lanes: u32,
        guarded: u32,
    ) -> Option<(u32, usize, Option<usize>)> {
        let mut found = None;
        let mut look = |register: Register, lanes: u32| {
            let missing = lanes & !self.whole(register);
            if let (Some(at), None, true) = (self.number(register), found, missing != 0) {
                found = Some((missing.trailing_zeros(), at, self.origins[at].filter(|&from| from != at)));
            }
        };
        if inst.guard != NO_SLOT {
            look((Pred, inst.guard), lanes);
        }
        uses(&inst.op, extended, &mut |file, slot| look((file, slot), guarded));
        found
    }
}
