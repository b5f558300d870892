//! The static pass that finds the registers that some path leaves unwritten.
//!
//! A register that every path to a read has written needs no check while the kernel runs. The others are watched: only
//! reads of them are checked, and only writes to them are noted.

use crate::extended::Extended;
use crate::isa::{NO_SLOT, Op, Slot, Use};
use crate::operands::{moved, operands};
use crate::program::{Inst, Program};
use crate::steps::{Steps, TooMany};
use crate::types::RegisterFile;

/// Numbers the registers of all files one after the other.
#[derive(Clone, Copy)]
struct Numbering {
    words: u32,
    doubles: u32,
}

impl Numbering {
    fn at(self, file: RegisterFile, slot: Slot) -> usize {
        (match file {
            RegisterFile::Word => slot,
            RegisterFile::Double => self.words + slot,
            RegisterFile::Pred => self.words + self.doubles + slot,
        }) as usize
    }
}

/// A set of registers.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn add(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }
}

/// Calls `visit` for each register that an instruction reads, its guard first.
fn reads_of(inst: &Inst, extended: &[Extended], mut visit: impl FnMut(RegisterFile, Slot)) {
    if inst.guard != NO_SLOT {
        visit(RegisterFile::Pred, inst.guard);
    }
    operands(&inst.op, extended, &mut |file, slot, how| {
        if how == Use::Read {
            visit(file, slot);
        }
    });
}

/// Calls `visit` for each register that an instruction writes.
fn writes_of(inst: &Inst, extended: &[Extended], mut visit: impl FnMut(RegisterFile, Slot)) {
    operands(&inst.op, extended, &mut |file, slot, how| {
        if how == Use::Write {
            visit(file, slot);
        }
    });
}

/// Calls `visit` for each instruction that may follow the one at `pc`.
pub(crate) fn successors(program: &Program, pc: usize, mut visit: impl FnMut(usize)) {
    let inst = &program.code[pc];
    let falls = match &inst.op {
        Op::Branch { target } => {
            visit(*target as usize);
            inst.guard != NO_SLOT
        }
        Op::BranchTable { table, .. } => {
            program.tables[*table as usize].iter().for_each(|&t| visit(t as usize));
            inst.guard != NO_SLOT
        }
        Op::Exit | Op::Trap | Op::Return => inst.guard != NO_SLOT,
        _ => true,
    };
    if falls && pc + 1 < program.code.len() {
        visit(pc + 1);
    }
}

/// Sets `suspect` on instructions that may read an unwritten register, and `tracks` on those that write such a register.
///
/// # Errors
/// [`TooMany`] if the kernel has so many branches and registers that the file has no steps left for them.
pub(crate) fn mark_suspects(program: &mut Program, steps: &mut Steps) -> Result<(), TooMany> {
    let number = Numbering { words: program.words, doubles: program.doubles };
    let count = (program.words + program.doubles + program.preds) as usize;
    // The words of a set.
    let set = count.div_ceil(64);
    let mut start = Set(vec![0; set]);
    program.word_constants.iter().for_each(|c| start.add(number.at(RegisterFile::Word, c.0)));
    program.specials.iter().for_each(|c| start.add(number.at(RegisterFile::Word, c.1)));
    program.double_constants.iter().for_each(|c| start.add(number.at(RegisterFile::Double, c.0)));
    program.frame_pointer.iter().for_each(|&slot| start.add(number.at(RegisterFile::Double, slot)));

    let leaders = leaders(program);
    let mut block_of = vec![0; program.code.len()];
    for (block, &first) in leaders.iter().enumerate() {
        let end = leaders.get(block + 1).copied().unwrap_or(program.code.len());
        block_of[first..end].fill(block);
    }
    // Forward over the basic blocks: what every path to a block has written. A block that no path has reached yet counts
    // as having written everything, and loses registers with each path.
    let mut entry: Vec<Option<Set>> = vec![None; leaders.len()];
    // A function out of line starts without registers of its own, and a call leaves those of its caller as they are.
    let mut work = vec![0];
    work.extend(program.functions.iter().map(|f| block_of[f.entry as usize]));
    for &block in &work {
        steps.take(set)?;
        entry[block] = Some(start.clone());
    }
    while let Some(block) = work.pop() {
        let end = leaders.get(block + 1).copied().unwrap_or(program.code.len());
        steps.take(1 + set + end - leaders[block])?;
        let mut written = entry[block].clone().expect("in the list because it was reached");
        for inst in &program.code[leaders[block]..end] {
            after(inst, &program.extended, &mut written, number);
        }
        let mut taken = Ok(());
        successors(program, end - 1, |pc| {
            taken = if taken.is_ok() { steps.take(set) } else { Err(TooMany) };
            if taken.is_err() {
                return;
            }
            let next = block_of[pc];
            let met = match &entry[next] {
                None => written.clone(),
                Some(old) => Set(old.0.iter().zip(&written.0).map(|(a, b)| a & b).collect()),
            };
            if entry[next].as_ref() != Some(&met) {
                entry[next] = Some(met);
                work.push(next);
            }
        });
        taken?;
    }
    program.leaders = leaders.iter().map(|&pc| pc as u32).collect();
    let mut watched = Set(vec![0; set]);
    for (block, &first) in leaders.iter().enumerate() {
        let Some(written) = &mut entry[block] else { continue };
        let end = leaders.get(block + 1).copied().unwrap_or(program.code.len());
        for inst in &mut program.code[first..end] {
            reads_of(inst, &program.extended, |file, slot| {
                let at = number.at(file, slot);
                if !written.has(at) && !watched.has(at) {
                    watched.add(at);
                    program.watched.push((file, slot));
                }
            });
            inst.suspect = {
                let mut any = false;
                reads_of(inst, &program.extended, |file, slot| any |= !written.has(number.at(file, slot)));
                any
            };
            after(inst, &program.extended, written, number);
        }
    }
    for inst in &mut program.code {
        let mut any = false;
        writes_of(inst, &program.extended, |file, slot| any |= watched.has(number.at(file, slot)));
        inst.tracks = any;
    }
    Ok(())
}

/// Takes the results of atomics away that nothing reads: a thread cannot wait for others by them, and compilers write
/// `atom` where `red` is meant.
pub(crate) fn drop_unused_results(program: &mut Program) {
    let mut read = [program.words, program.doubles].map(|n| vec![false; n as usize]);
    let file = |file: RegisterFile| match file {
        RegisterFile::Word => Some(0),
        RegisterFile::Double => Some(1),
        RegisterFile::Pred => None,
    };
    for inst in &program.code {
        reads_of(inst, &program.extended, |of, slot| {
            if let Some(k) = file(of) {
                read[k][slot as usize] = true;
            }
        });
    }
    for inst in &mut program.code {
        if let Op::Atomic(atomic) = &mut inst.op
            && let Some(k) = file(atomic.ty.file())
            && atomic.dest.is_some_and(|d| !read[k][d as usize])
        {
            atomic.dest = None;
        }
    }
}

/// Adds what an instruction surely writes: its guard might not hold, and a move might copy what nothing wrote.
fn after(inst: &Inst, extended: &[Extended], written: &mut Set, number: Numbering) {
    let copies = moved(&inst.op).is_none_or(|(file, a)| written.has(number.at(file, a)));
    if inst.guard == NO_SLOT && copies {
        writes_of(inst, extended, |file, slot| written.add(number.at(file, slot)));
    }
}

/// The first instructions of the basic blocks, in order.
fn leaders(program: &Program) -> Vec<usize> {
    let mut all = vec![0];
    all.extend(program.functions.iter().map(|f| f.entry as usize));
    for pc in 0..program.code.len() {
        let mut leaves = false;
        if let Op::Branch { .. } | Op::BranchTable { .. } | Op::Exit | Op::Trap | Op::Return =
            program.code[pc].op
        {
            leaves = true;
            successors(program, pc, |next| all.push(next));
        }
        if leaves && pc + 1 < program.code.len() {
            all.push(pc + 1);
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}
