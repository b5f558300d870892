//! Vector registers: `.reg .v2 .f32 %v` declares `%v.x` and `%v.y`, and `%v` stands for both.

use super::builder::{Builder, Lowered};
use super::names::{Counted, Name, VectorSlots};
use crate::isa::{NO_SLOT, Slot};
use crate::syntax::Operand;
use crate::types::Type;

impl<'t, 'b> Builder<'t, 'b> {
    /// Makes a register, which may be a vector of `elements`.
    pub(super) fn new_register(&mut self, name: &'t str, ty: Type, elements: u32) -> Name<'t, 'b> {
        if elements == 1 {
            return Name::Register(ty, self.named_slot(ty, name));
        }
        self.vectors = true;
        let mut slots = [NO_SLOT; 4];
        slots[..elements as usize].iter_mut().for_each(|slot| *slot = self.named_slot(ty, name));
        Name::Vector(ty, VectorSlots { slots, count: elements as u8 })
    }

    /// Finds an element of a vector register: `%v.x`.
    pub(super) fn element_named(&mut self, name: &'t str) -> Lowered<Option<Name<'t, 'b>>> {
        let Some((vector, end)) = name.rsplit_once('.').filter(|_| self.vectors || self.counts_vectors)
        else {
            return Ok(None);
        };
        Ok(match self.lookup(vector)? {
            Some(Name::Vector(ty, all)) => all.element(end).map(|slot| Name::Register(ty, slot)),
            _ => None,
        })
    }

    /// Declares the registers of a prefix and a count.
    pub(super) fn declare_counted(&mut self, prefix: &'t str, counted: Counted) -> Lowered<()> {
        self.counts_vectors |= counted.elements > 1;
        if self.scope().counted.insert(prefix, counted).is_some() {
            return self.fail(format!("registers `{prefix}` are declared twice"));
        }
        Ok(())
    }

    /// The operands of an instruction, with vector registers as lists of their elements.
    pub(super) fn spelled_out(&mut self, operands: &[Operand<'t>]) -> Lowered<Option<Vec<Operand<'t>>>> {
        if !self.vectors && !self.counts_vectors {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(operands.len());
        for operand in operands {
            if let Operand::Name(name, 0) = operand
                && let Some(Name::Vector(_, all)) = self.lookup(name)?
            {
                out.push(Operand::Vector((0..all.count).map(|k| Operand::Part(name, k)).collect()));
            } else {
                out.push(operand.clone());
            }
        }
        Ok(Some(out))
    }

    /// The type and the slot of an element of a vector register.
    pub(super) fn part(&mut self, name: &'t str, part: u8) -> Lowered<(Type, Slot)> {
        match self.lookup(name)? {
            Some(Name::Vector(ty, all)) => Ok((ty, all.slots[part as usize])),
            _ => self.fail(format!("`{name}` is not a vector")),
        }
    }
}
