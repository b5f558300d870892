//! The parts of an opcode, each taken once: what is left over is a form that is not supported.

use super::{Builder, Lowered};
use crate::isa::{Mode, Round};
use crate::syntax::{Instruction, Operand};
use crate::types::Type;

pub(super) struct Mods<'t> {
    pub name: &'t str,
    rest: Vec<&'t str>,
}

impl<'t> Mods<'t> {
    pub fn new(opcode: &'t str) -> Self {
        let mut parts = opcode.split('.');
        let name = parts.next().unwrap_or_default();
        Self { name, rest: parts.filter(|p| !p.is_empty()).collect() }
    }

    /// Takes a modifier if it is there.
    pub fn takes(&mut self, what: &str) -> bool {
        match self.rest.iter().position(|p| *p == what) {
            Some(at) => {
                self.rest.remove(at);
                true
            }
            None => false,
        }
    }

    /// Takes the first part that `read` knows.
    pub fn find<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, found) = self.rest.iter().enumerate().find_map(|(at, p)| Some((at, read(p)?)))?;
        self.rest.remove(at);
        Some(found)
    }

    pub fn empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn round(&mut self) -> Option<Round> {
        self.find(|p| {
            Some(match p {
                "rn" => Round::Nearest,
                "rz" => Round::Zero,
                "rm" => Round::Down,
                "rp" => Round::Up,
                _ => return None,
            })
        })
    }

    /// Rounding (nearest unless said), `.ftz`, `.sat`.
    pub fn mode(&mut self) -> Mode {
        Mode { round: self.round().unwrap_or(Round::Nearest), ftz: self.takes("ftz"), sat: self.takes("sat") }
    }
}

impl<'t> Builder<'t, '_> {
    pub(super) fn unsupported<T>(&self, instruction: &Instruction<'t>) -> Lowered<T> {
        self.fail(format!("`{}` is not supported", instruction.opcode))
    }

    /// The first type among the modifiers.
    pub(super) fn ty(&self, instruction: &Instruction<'t>, mods: &mut Mods<'t>) -> Lowered<Type> {
        match mods.find(Type::parse) {
            Some(ty) => Ok(ty),
            None => self.unsupported(instruction),
        }
    }

    /// Nothing may be left of the opcode.
    pub(super) fn done(&self, instruction: &Instruction<'t>, mods: &Mods<'t>) -> Lowered<()> {
        if mods.empty() { Ok(()) } else { self.unsupported(instruction) }
    }

    /// Exactly `N` operands.
    pub(super) fn operands<'i, const N: usize>(
        &self,
        instruction: &'i Instruction<'t>,
    ) -> Lowered<&'i [Operand<'t>; N]> {
        match <&[Operand<'t>; N]>::try_from(instruction.operands.as_slice()) {
            Ok(all) => Ok(all),
            Err(_) => self.fail(format!(
                "`{}` with {} operands, {N} are needed",
                instruction.opcode,
                instruction.operands.len()
            )),
        }
    }
}
