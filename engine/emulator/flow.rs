//! Which registers an instruction uses, and which of them some path leaves unwritten.
//!
//! A register that every path to a read has written needs no check while the kernel runs. The others ("suspects") do:
//! only reads of them are checked, and only writes to them are noted.

use crate::isa::{Access, Address, Op, Slot, Use};
use crate::program::{Inst, Program};
use crate::types::{File, Type};

/// Calls `visit` for each register an operation reads or writes, reads first.
pub(crate) fn registers(op: &Op, visit: &mut impl FnMut(File, Slot, Use)) {
    use File::{Double, Pred, Word};
    use Use::{Read, Write};
    let of = Type::file;
    let mut all = |list: &[(File, Slot)], writes: &[(File, Slot)]| {
        list.iter().for_each(|&(f, s)| visit(f, s, Read));
        writes.iter().for_each(|&(f, s)| visit(f, s, Write));
    };
    match *op {
        Op::Nop
        | Op::CopyCommit
        | Op::CopyWait { .. }
        | Op::Fence
        | Op::Branch { .. }
        | Op::Exit
        | Op::Trap => {}
        Op::Move { d, a } => all(&[(Word, a)], &[(Word, d)]),
        Op::Move64 { d, a } => all(&[(Double, a)], &[(Double, d)]),
        Op::MovePred { d, a } | Op::NotPred { d, a } => all(&[(Pred, a)], &[(Pred, d)]),
        Op::Pack64 { d, low, high } => all(&[(Word, low), (Word, high)], &[(Double, d)]),
        Op::Unpack64 { low, high, a } => all(&[(Double, a)], &[(Word, low), (Word, high)]),
        Op::Pack32 { d, low, high } => all(&[(Word, low), (Word, high)], &[(Word, d)]),
        Op::Unpack32 { low, high, a } => all(&[(Word, a)], &[(Word, low), (Word, high)]),
        Op::Int { ty, d, a, b, .. } => all(&[(of(ty), a), (of(ty), b)], &[(of(ty), d)]),
        Op::Carry { d, a, b, .. } => all(&[(Word, a), (Word, b)], &[(Word, d)]),
        Op::MadCarry { d, a, b, c, .. } | Op::Dp4a { d, a, b, c, .. } => {
            all(&[(Word, a), (Word, b), (Word, c)], &[(Word, d)]);
        }
        Op::Unary { ty, d, a, .. } => all(&[(of(ty), a)], &[(of(ty), d)]),
        Op::Count { ty, d, a, .. } => all(&[(of(ty), a)], &[(Word, d)]),
        Op::Shift { ty, d, a, b, .. } => all(&[(of(ty), a), (Word, b)], &[(of(ty), d)]),
        Op::MulWide { ty, d, a, b } => all(&[(Word, a), (Word, b)], &[(wide(ty), d)]),
        Op::MadWide { ty, d, a, b, c } => all(&[(Word, a), (Word, b), (wide(ty), c)], &[(wide(ty), d)]),
        Op::Mad { ty, d, a, b, c, .. } | Op::Sad { ty, d, a, b, c } => {
            all(&[(of(ty), a), (of(ty), b), (of(ty), c)], &[(of(ty), d)]);
        }
        Op::Bfe { ty, d, a, b, c } => all(&[(of(ty), a), (Word, b), (Word, c)], &[(of(ty), d)]),
        Op::Bfi { ty, d, a, b, c, e } => {
            all(&[(of(ty), a), (of(ty), b), (Word, c), (Word, e)], &[(of(ty), d)]);
        }
        Op::Prmt { d, a, b, c }
        | Op::Funnel { d, a, b, c, .. }
        | Op::Lop3 { d, a, b, c, .. }
        | Op::Fma { d, a, b, c, .. }
        | Op::Bf16 { d, a, b, c, .. } => all(&[(Word, a), (Word, b), (Word, c)], &[(Word, d)]),
        Op::SetPred { compare, d, q, a, b, combine } => {
            let ty = compare.ty;
            all(&[(of(ty), a), (of(ty), b)], &[]);
            if let Some(combine) = combine {
                all(&[(Pred, combine.p)], &[]);
            }
            all(&[], &[(Pred, d), (Pred, q.unwrap_or(d))]);
        }
        Op::Set { compare, d, a, b, .. } => {
            all(&[(of(compare.ty), a), (of(compare.ty), b)], &[(Word, d)]);
        }
        Op::Select { d, a, b, p } => all(&[(Word, a), (Word, b), (Pred, p)], &[(Word, d)]),
        Op::Select64 { d, a, b, p } => all(&[(Double, a), (Double, b), (Pred, p)], &[(Double, d)]),
        Op::Logic { d, a, b, .. } => all(&[(Pred, a), (Pred, b)], &[(Pred, d)]),
        Op::IsSpace { d, a, .. } => all(&[(Double, a)], &[(Pred, d)]),
        Op::Float { d, a, b, .. } => all(&[(Word, a), (Word, b)], &[(Word, d)]),
        Op::FloatUnary { d, a, .. } => all(&[(Word, a)], &[(Word, d)]),
        Op::Float64 { d, a, b, .. } => all(&[(Double, a), (Double, b)], &[(Double, d)]),
        Op::Unary64 { d, a, .. } | Op::Approx64 { d, a, .. } | Op::Generic { d, a, .. } => {
            all(&[(Double, a)], &[(Double, d)]);
        }
        Op::Fma64 { d, a, b, c } => all(&[(Double, a), (Double, b), (Double, c)], &[(Double, d)]),
        Op::Convert { convert, d, a } => {
            let into = if convert.register_bits == 64 { Double } else { Word };
            all(&[(of(convert.from), a)], &[(into, d)]);
        }
        Op::ConvertPair { d, high, low, .. } => all(&[(Word, high), (Word, low)], &[(Word, d)]),
        Op::Load(access) => {
            all(&[base(access.address)], &[]);
            elements(&access).for_each(|e| all(&[], &[e]));
        }
        Op::Store(access) => {
            all(&[base(access.address)], &[]);
            elements(&access).for_each(|e| all(&[e], &[]));
        }
        Op::Atomic(atomic) => {
            let file = of(atomic.ty);
            all(&[base(atomic.address), (file, atomic.a), (file, atomic.b)], &[]);
            if let Some(d) = atomic.dest {
                all(&[], &[(file, d)]);
            }
        }
        Op::CopyAsync(copy) => {
            all(&[base(copy.to), base(copy.from)], &[]);
            if let Some(s) = copy.source_bytes {
                all(&[(Word, s)], &[]);
            }
        }
        Op::Barrier { id, count, .. } => all(&[(Word, id), (Word, count.unwrap_or(id))], &[]),
        Op::BarrierReduce { f, id, count, d, p, .. } => {
            let file = if f == crate::isa::BarrierReduce::Popc { Word } else { Pred };
            all(&[(Word, id), (Word, count.unwrap_or(id)), (Pred, p)], &[(file, d)]);
        }
        Op::WarpBarrier { mask } => all(&[(Word, mask)], &[]),
        Op::Shuffle { d, p, a, lane, clamp, mask, .. } => {
            all(&[(Word, a), (Word, lane), (Word, clamp), (Word, mask)], &[(Word, d)]);
            if let Some(p) = p {
                all(&[], &[(Pred, p)]);
            }
        }
        Op::Vote { f, d, p, mask, .. } => {
            let file = if f == crate::isa::VoteMode::Ballot { Word } else { Pred };
            all(&[(Pred, p), (Word, mask)], &[(file, d)]);
        }
        Op::Match { ty, d, p, a, mask, .. } => {
            all(&[(of(ty), a), (Word, mask)], &[(Word, d)]);
            if let Some(p) = p {
                all(&[], &[(Pred, p)]);
            }
        }
        Op::Redux { d, a, mask, .. } => all(&[(Word, a), (Word, mask)], &[(Word, d)]),
        Op::ActiveMask { d } => all(&[], &[(Word, d)]),
        Op::Clock { double, d } => all(&[], &[(if double { Double } else { Word }, d)]),
        Op::BranchTable { a, .. } => all(&[(Word, a)], &[]),
    }
}

/// The source of a plain move: copying what was never written is no use of it. Compilers do so where variables of two
/// paths meet.
pub(crate) fn moved(op: &Op) -> Option<(File, Slot)> {
    match *op {
        Op::Move { a, .. } => Some((File::Word, a)),
        Op::Move64 { a, .. } => Some((File::Double, a)),
        Op::MovePred { a, .. } => Some((File::Pred, a)),
        _ => None,
    }
}

fn wide(ty: Type) -> File {
    if ty.bits() == 16 { File::Word } else { File::Double }
}

fn base(address: Address) -> (File, Slot) {
    (if address.short { File::Word } else { File::Double }, address.base)
}

fn elements(access: &Access) -> impl Iterator<Item = (File, Slot)> {
    let file = if access.double { File::Double } else { File::Word };
    access.registers.into_iter().filter(|&s| s != Slot::MAX).map(move |s| (file, s))
}

/// Registers of all files in one numbering.
#[derive(Clone, Copy)]
struct Numbering {
    words: u32,
    doubles: u32,
}

impl Numbering {
    fn at(self, file: File, slot: Slot) -> usize {
        (match file {
            File::Word => slot,
            File::Double => self.words + slot,
            File::Pred => self.words + self.doubles + slot,
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

fn reads_of(inst: &Inst, mut visit: impl FnMut(File, Slot)) {
    if inst.guard != Slot::MAX {
        visit(File::Pred, inst.guard);
    }
    registers(&inst.op, &mut |file, slot, how| {
        if how == Use::Read {
            visit(file, slot);
        }
    });
}

fn writes_of(inst: &Inst, mut visit: impl FnMut(File, Slot)) {
    registers(&inst.op, &mut |file, slot, how| {
        if how == Use::Write {
            visit(file, slot);
        }
    });
}

/// Where control may go after `pc`.
fn successors(program: &Program, pc: usize, mut visit: impl FnMut(usize)) {
    let inst = &program.code[pc];
    let falls = match &inst.op {
        Op::Branch { target } => {
            visit(*target as usize);
            inst.guard != Slot::MAX
        }
        Op::BranchTable { table, .. } => {
            program.tables[*table as usize].iter().for_each(|&t| visit(t as usize));
            inst.guard != Slot::MAX
        }
        Op::Exit | Op::Trap => inst.guard != Slot::MAX,
        _ => true,
    };
    if falls && pc + 1 < program.code.len() {
        visit(pc + 1);
    }
}

/// Sets `suspect` on instructions that may read an unwritten register, `tracks` on those that write one such.
pub(crate) fn mark_suspects(program: &mut Program) {
    let number = Numbering { words: program.words, doubles: program.doubles };
    let count = (program.words + program.doubles + program.preds) as usize;
    let mut start = Set(vec![0; count.div_ceil(64)]);
    program.word_constants.iter().for_each(|c| start.add(number.at(File::Word, c.0)));
    program.specials.iter().for_each(|c| start.add(number.at(File::Word, c.1)));
    program.double_constants.iter().for_each(|c| start.add(number.at(File::Double, c.0)));

    let leaders = leaders(program);
    let mut block_of = vec![0; program.code.len()];
    for (block, &first) in leaders.iter().enumerate() {
        let end = leaders.get(block + 1).copied().unwrap_or(program.code.len());
        block_of[first..end].fill(block);
    }
    // Forward: what every path to a block has written. Blocks start at "everything" and lose registers.
    let mut entry: Vec<Option<Set>> = vec![None; leaders.len()];
    entry[0] = Some(start);
    let mut work = vec![0];
    while let Some(block) = work.pop() {
        let mut written = entry[block].clone().expect("in the list because it was reached");
        let end = leaders.get(block + 1).copied().unwrap_or(program.code.len());
        for inst in &program.code[leaders[block]..end] {
            after(inst, &mut written, number);
        }
        successors(program, end - 1, |pc| {
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
    }
    let mut watched = Set(vec![0; count.div_ceil(64)]);
    for (block, &first) in leaders.iter().enumerate() {
        let Some(written) = &mut entry[block] else { continue };
        let end = leaders.get(block + 1).copied().unwrap_or(program.code.len());
        for inst in &mut program.code[first..end] {
            reads_of(inst, |file, slot| {
                let at = number.at(file, slot);
                if !written.has(at) && !watched.has(at) {
                    watched.add(at);
                    program.watched.push((file, slot));
                }
            });
            inst.suspect = {
                let mut any = false;
                reads_of(inst, |file, slot| any |= !written.has(number.at(file, slot)));
                any
            };
            after(inst, written, number);
        }
    }
    for inst in &mut program.code {
        let mut any = false;
        writes_of(inst, |file, slot| any |= watched.has(number.at(file, slot)));
        inst.tracks = any;
    }
}

/// Adds what an instruction surely writes. A guard may not hold, and a move may copy what nothing wrote.
fn after(inst: &Inst, written: &mut Set, number: Numbering) {
    let copies = moved(&inst.op).is_none_or(|(file, a)| written.has(number.at(file, a)));
    if inst.guard == Slot::MAX && copies {
        writes_of(inst, |file, slot| written.add(number.at(file, slot)));
    }
}

/// First instructions of basic blocks, in order.
fn leaders(program: &Program) -> Vec<usize> {
    let mut all = vec![0];
    for pc in 0..program.code.len() {
        let mut leaves = false;
        if let Op::Branch { .. } | Op::BranchTable { .. } | Op::Exit | Op::Trap = program.code[pc].op {
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
