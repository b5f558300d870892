//! Atomics: `atom` and `red`.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{Address, Atomic, AtomicAccess, Op, Slot, Strength};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{Space, Type};

/// The operands of an atomic.
struct Operands<'i, 't> {
    dest: Option<&'i Operand<'t>>,
    address: &'i Operand<'t>,
    a: &'i Operand<'t>,
    b: Option<&'i Operand<'t>>,
}

impl<'t> Builder<'t, '_> {
    /// `atom` and `red`
    pub(super) fn atomic(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let returns = m.name == "atom";
        let space = m.find(Space::parse).unwrap_or(Space::Generic);
        let order = m.order(Strength::Relaxed);
        let Some(op) = m.find(Atomic::parse) else { return self.unsupported(i) };
        let count = m.find(|p| match p {
            "v2" => Some(2),
            "v4" => Some(4),
            "v8" => Some(8),
            _ => None,
        });
        let noftz = m.takes("noftz");
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        let half = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
        // Vectors have up to 16 bytes; only they have the smaller or larger of floats.
        let ok = match (op, count) {
            (Atomic::Add, None) => {
                half || matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::F32 | Type::F64)
            }
            (Atomic::Min | Atomic::Max, None) => {
                matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64)
            }
            (Atomic::Inc | Atomic::Dec, None) => ty == Type::U32,
            (Atomic::Cas, None) => matches!(ty, Type::B16 | Type::B32 | Type::B64),
            (Atomic::And | Atomic::Or | Atomic::Xor | Atomic::Exch, None) => {
                matches!(ty, Type::B32 | Type::B64)
            }
            (Atomic::Add, Some(count)) => (half || ty == Type::F32) && ty.bytes() * count <= 16,
            (Atomic::Min | Atomic::Max, Some(count)) => half && ty.bytes() * count <= 16,
            _ => false,
        };
        if !ok || noftz != half || !returns && matches!(op, Atomic::Exch | Atomic::Cas) {
            return self.unsupported(i);
        }
        let operands = self.atomic_operands(i, op, returns)?;
        let (address, space) = self.address(operands.address, space)?;
        let anywhere = matches!(space, Space::Global | Space::Generic);
        if !anywhere && (space != Space::Shared || count.is_some()) {
            return self.unsupported(i);
        }
        self.note_granule(space, ty.bytes());
        self.program.has_cas |= op == Atomic::Cas;
        let access =
            |dest, a, b| AtomicAccess { space, address, op, ty, order, dest, a, b, align: ty.bytes() };
        if let Some(count) = count {
            return self.atomic_vector(i, operands, count, access(None, 0, 0));
        }
        let a = self.src(operands.a, ty)?;
        let b = operands.b.map_or(Ok(a), |b| self.src(b, ty))?;
        let dest = operands.dest.map(|d| self.dst(d, ty)).transpose()?;
        self.emit(i, Class::Atomic, Op::Atomic(access(dest, a, b)))
    }

    /// The operands, of which there have to be as many as the operation needs.
    fn atomic_operands<'i>(
        &self,
        i: &'i Instruction<'t>,
        op: Atomic,
        returns: bool,
    ) -> Lowered<Operands<'i, 't>> {
        Ok(match (i.operands.as_slice(), returns, op == Atomic::Cas) {
            ([address, a], false, false) => Operands { dest: None, address, a, b: None },
            ([d, address, a], true, false) => Operands { dest: Some(d), address, a, b: None },
            ([d, address, a, b], true, true) => Operands { dest: Some(d), address, a, b: Some(b) },
            _ => return self.fail(format!("`{}` has a wrong number of operands", i.opcode)),
        })
    }

    /// An atomic on a vector, whose elements are atomic each for itself: one operation for each, as `first` says.
    fn atomic_vector(
        &mut self,
        i: &Instruction<'t>,
        operands: Operands<'_, 't>,
        count: u32,
        first: AtomicAccess,
    ) -> Lowered<()> {
        let ty = first.ty;
        let mut sources: Vec<Slot> = Vec::new();
        for a in self.atomic_elements(i, operands.a, count)? {
            sources.push(self.src(a, ty)?);
        }
        let mut moves = Vec::new();
        if let Some(dest) = operands.dest {
            for d in self.atomic_elements(i, dest, count)? {
                moves.push((self.dst(d, ty)?, self.new_slot(ty.file())));
            }
        }
        for (k, &a) in sources.iter().enumerate() {
            let at = i64::from(ty.bytes()) * k as i64;
            let Some(offset) = first.address.offset.checked_add(at) else { return self.unsupported(i) };
            let access = AtomicAccess {
                address: Address { offset, ..first.address },
                dest: moves.get(k).map(|&(_, old)| old),
                a,
                b: a,
                // The first element lies where the vector lies.
                align: if k == 0 { ty.bytes() * count } else { ty.bytes() },
                ..first
            };
            self.emit(i, Class::Atomic, Op::Atomic(access))?;
        }
        // The old values come last, because their registers may hold the operands.
        for (d, old) in moves {
            self.emit(i, Class::Move, Op::Move { d, a: old })?;
        }
        Ok(())
    }

    /// The elements of a vector operand.
    fn atomic_elements<'i>(
        &self,
        i: &Instruction<'t>,
        operand: &'i Operand<'t>,
        count: u32,
    ) -> Lowered<&'i [Operand<'t>]> {
        match operand {
            Operand::Vector(elements) if elements.len() == count as usize => Ok(elements),
            _ => self.fail(format!("`{}` needs vectors of {count} elements", i.opcode)),
        }
    }
}
