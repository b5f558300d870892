//! The parts of an opcode. Each is taken once; if one is left over, the form is not supported.

use super::builder::{Builder, Lowered};
use crate::isa::{Mode, Round};
use crate::syntax::{Instruction, Operand};
use crate::types::Type;

/// An opcode's name, and its modifiers that were not taken yet.
pub(super) struct Modifiers<'t> {
    pub name: &'t str,
    rest: Vec<&'t str>,
}

impl<'t> Modifiers<'t> {
    /// Splits an opcode at its dots.
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

    /// Takes the first modifier that `read` knows.
    pub fn find<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, found) = self.rest.iter().enumerate().find_map(|(at, p)| Some((at, read(p)?)))?;
        self.rest.remove(at);
        Some(found)
    }

    /// The modifiers that were not taken yet, in their order.
    pub fn all(&self) -> &[&'t str] {
        &self.rest
    }

    /// Whether every modifier was taken.
    pub fn empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes the rounding of a float, if it is there.
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

    /// Takes the rounding, which is to nearest where none is written, `.ftz` and `.sat`.
    pub fn mode(&mut self) -> Mode {
        Mode { round: self.round().unwrap_or(Round::Nearest), ftz: self.takes("ftz"), sat: self.takes("sat") }
    }
}

impl<'t> Builder<'t, '_> {
    /// Fails because the emulator does not have this form of the opcode.
    pub(super) fn unsupported<T>(&self, instruction: &Instruction<'t>) -> Lowered<T> {
        self.fail(format!("`{}` is not supported", instruction.opcode))
    }

    /// Takes the first type among the modifiers, which has to be there.
    pub(super) fn ty(&self, instruction: &Instruction<'t>, mods: &mut Modifiers<'t>) -> Lowered<Type> {
        match mods.find(Type::parse) {
            Some(ty) => Ok(ty),
            None => self.unsupported(instruction),
        }
    }

    /// Checks that no modifier is left.
    pub(super) fn done(&self, instruction: &Instruction<'t>, mods: &Modifiers<'t>) -> Lowered<()> {
        if mods.empty() { Ok(()) } else { self.unsupported(instruction) }
    }

    /// The operands, of which there have to be exactly `N`.
    pub(super) fn operands<'i, const N: usize>(
        &self,
        instruction: &'i Instruction<'t>,
    ) -> Lowered<&'i [Operand<'t>; N]> {
        match <&[Operand<'t>; N]>::try_from(instruction.operands.as_slice()) {
            Ok(all) => Ok(all),
            Err(_) => self.fail(format!(
                "`{}` has {} operands, {N} are needed",
                instruction.opcode,
                instruction.operands.len()
            )),
        }
    }
}
