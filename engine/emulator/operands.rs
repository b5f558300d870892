//! Which registers an operation reads and writes.

use crate::extended::Extended;
use crate::isa::{Address, BarrierReduce, MemoryAccess, NO_SLOT, Op, Slot, Use, VoteMode};
use crate::types::{RegisterFile, Type};

/// Calls `visit` for each register that an operation reads or writes, reads first.
///
/// `extended` is the list of its program.
pub(crate) fn operands(op: &Op, extended: &[Extended], visit: &mut impl FnMut(RegisterFile, Slot, Use)) {
    use RegisterFile::{Double, Pred, Word};
    use Use::{Read, Write};
    let of = Type::file;
    let mut all = |list: &[(RegisterFile, Slot)], writes: &[(RegisterFile, Slot)]| {
        list.iter().for_each(|&(f, s)| visit(f, s, Read));
        writes.iter().for_each(|&(f, s)| visit(f, s, Write));
    };
    match *op {
        Op::Extended { index } => {
            let uses = &extended[index as usize].uses;
            uses.iter().for_each(|&(file, slot, how)| visit(file, slot, how));
        }
        Op::Nop
        | Op::CopyCommit
        | Op::CopyWait { .. }
        | Op::Fence(_)
        | Op::Branch { .. }
        | Op::Return
        | Op::System { .. }
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
        Op::Carry { ty, d, a, b, .. } => all(&[(of(ty), a), (of(ty), b)], &[(of(ty), d)]),
        Op::Dp4a { d, a, b, c, .. } => {
            all(&[(Word, a), (Word, b), (Word, c)], &[(Word, d)]);
        }
        Op::Unary { ty, d, a, .. } => all(&[(of(ty), a)], &[(of(ty), d)]),
        Op::Count { ty, d, a, .. } => all(&[(of(ty), a)], &[(Word, d)]),
        Op::Shift { ty, d, a, b, .. } => all(&[(of(ty), a), (Word, b)], &[(of(ty), d)]),
        Op::MulWide { ty, d, a, b } => all(&[(Word, a), (Word, b)], &[(wide(ty), d)]),
        Op::MadWide { ty, d, a, b, c } => all(&[(Word, a), (Word, b), (wide(ty), c)], &[(wide(ty), d)]),
        Op::Mad { ty, d, a, b, c, .. } | Op::MadCarry { ty, d, a, b, c, .. } | Op::Sad { ty, d, a, b, c } => {
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
        | Op::Half { d, a, b, c, .. }
        | Op::Words { d, a, b, c, .. } => all(&[(Word, a), (Word, b), (Word, c)], &[(Word, d)]),
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
        Op::SetAny { compare, d, a, b, combine, .. } => {
            all(&[(of(compare.ty), a), (of(compare.ty), b)], &[]);
            if let Some(combine) = combine {
                all(&[(Pred, combine.p)], &[]);
            }
            all(&[], &[(Word, d)]);
        }
        Op::SetPredPair { d, q, a, b, combine, .. } => {
            all(&[(Word, a), (Word, b)], &[]);
            if let Some(combine) = combine {
                all(&[(Pred, combine.p)], &[]);
            }
            all(&[], &[(Pred, d), (Pred, q)]);
        }
        Op::TestFloat { double, d, a, .. } => all(&[(if double { Double } else { Word }, a)], &[(Pred, d)]),
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
        Op::Fma64 { d, a, b, c } | Op::Directed64 { d, a, b, c, .. } => {
            all(&[(Double, a), (Double, b), (Double, c)], &[(Double, d)])
        }
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
            let file = if f == BarrierReduce::Popc { Word } else { Pred };
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
            let file = if f == VoteMode::Ballot { Word } else { Pred };
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
        Op::Call { a: NO_SLOT, .. } => {}
        Op::Call { a, .. } => all(&[(Double, a)], &[]),
    }
}

/// The source of a plain move. To copy what was never written is not a use of it: compilers do so where the variables of
/// two paths meet.
pub(crate) fn moved(op: &Op) -> Option<(RegisterFile, Slot)> {
    match *op {
        Op::Move { a, .. } => Some((RegisterFile::Word, a)),
        Op::Move64 { a, .. } => Some((RegisterFile::Double, a)),
        Op::MovePred { a, .. } => Some((RegisterFile::Pred, a)),
        _ => None,
    }
}

/// The file of a product in twice the width.
fn wide(ty: Type) -> RegisterFile {
    if ty.bits() == 16 { RegisterFile::Word } else { RegisterFile::Double }
}

/// The register of an address.
fn base(address: Address) -> (RegisterFile, Slot) {
    (if address.short { RegisterFile::Word } else { RegisterFile::Double }, address.base)
}

/// The registers of a load or store.
fn elements(access: &MemoryAccess) -> impl Iterator<Item = (RegisterFile, Slot)> {
    let file = if access.double { RegisterFile::Double } else { RegisterFile::Word };
    access.registers.into_iter().filter(|&s| s != NO_SLOT).map(move |s| (file, s))
}
