//! Instructions that change nothing here, such as hints to caches that are not modelled. Their forms are those of PTX all the same.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::Op;
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{Space, Type};

impl<'t> Builder<'t, '_> {
    /// Hints, and instructions for debuggers and profilers
    pub(super) fn nothing(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let one = |m: &mut Modifiers<'t>, all: &[&str]| m.find(|p| all.contains(&p).then_some(())).is_some();
        let space = match m.name {
            "prefetch" | "applypriority" | "discard" => m.find(Space::parse).unwrap_or(Space::Generic),
            _ => Space::Generic,
        };
        let global = matches!(space, Space::Generic | Space::Global);
        let known = match m.name {
            "prefetch" => {
                (global || space == Space::Local) && one(m, &["L1", "L2"])
                    || space == Space::Global && one(m, &["L2::evict_last", "L2::evict_normal"])
            }
            "prefetchu" => one(m, &["L1"]),
            "applypriority" => global && one(m, &["L2::evict_normal"]),
            "discard" => global && one(m, &["L2"]),
            "nanosleep" => one(m, &["u32"]),
            _ => true,
        };
        if !known {
            return self.unsupported(i);
        }
        self.done(i, m)?;
        match (m.name, i.operands.as_slice()) {
            ("prefetch" | "prefetchu", [Operand::Address(..)])
            | ("brkpt", [])
            | ("pmevent", [Operand::Int(_)]) => {}
            ("applypriority" | "discard", [Operand::Address(..), Operand::Int(128)]) => {}
            ("nanosleep", [time]) => {
                self.src(time, Type::U32)?;
            }
            _ => return self.fail(format!("`{}` does not take these operands", i.opcode)),
        }
        self.emit(i, Class::Other, Op::Nop)
    }
}
