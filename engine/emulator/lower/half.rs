//! Arithmetic on f16, bf16 and pairs of them.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{Extreme, Half, HalfMode, Op, Small};
use crate::meter::Class;
use crate::syntax::Instruction;
use crate::types::Type;

impl<'t> Builder<'t, '_> {
    /// Arithmetic on a float type of 16 bits, or on pairs.
    pub(super) fn half(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>, ty: Type) -> Lowered<()> {
        let (nearest, approx) = (m.takes("rn"), m.takes("approx"));
        let (ftz, sat, relu) = (m.takes("ftz"), m.takes("sat"), m.takes("relu"));
        let extreme = self.extreme(i, m)?;
        self.done(i, m)?;
        let f16 = matches!(ty, Type::F16 | Type::F16x2);
        let (f, count) = match m.name {
            "add" => (Half::Add, 2),
            "sub" => (Half::Sub, 2),
            "mul" => (Half::Mul, 2),
            "fma" => (Half::Fma { relu }, 3),
            "min" | "max" => (Half::Extreme(extreme), 2),
            "neg" => (Half::Neg, 1),
            "abs" => (Half::Abs, 1),
            "ex2" => (Half::Ex2, 1),
            "tanh" => (Half::Tanh, 1),
            _ => return self.unsupported(i),
        };
        // Which modifiers there are: rounding, `.approx`, `.ftz`, `.sat`, `.relu`, and those of `min` and `max`.
        let plain = extreme == Extreme { max: extreme.max, nan: false, magnitude: false };
        let fits = match f {
            Half::Add | Half::Sub | Half::Mul => !approx && !relu && plain && (f16 || !ftz && !sat),
            Half::Fma { .. } => nearest && !approx && plain && !(relu && sat) && (f16 || !ftz && !sat),
            Half::Extreme(_) => !nearest && !approx && !sat && !relu && (f16 || !ftz),
            Half::Neg | Half::Abs => !nearest && !approx && !sat && !relu && plain && (f16 || !ftz),
            Half::Ex2 => approx && !nearest && !sat && !relu && plain && ftz != f16,
            Half::Tanh => approx && !nearest && !sat && !relu && plain && !ftz,
        };
        if !fits {
            return self.unsupported(i);
        }
        let pair = ty.bits() == 32;
        let format = if f16 { Small::F16 } else { Small::Bf16 };
        let [d, sources @ ..] = i.operands.as_slice() else { return self.unsupported(i) };
        if sources.len() != count {
            return self.fail(format!("`{}` needs {count} source operands", i.opcode));
        }
        let bits = if pair { Type::B32 } else { Type::B16 };
        let mut slots = [0; 3];
        for (slot, source) in slots.iter_mut().zip(sources) {
            *slot = self.src(source, bits)?;
        }
        // Operands that the operation does not have repeat the first, which may be read more than once.
        for k in count..3 {
            slots[k] = slots[0];
        }
        let d = self.dst(d, bits)?;
        let class = if matches!(f, Half::Ex2 | Half::Tanh) { Class::Mufu } else { Class::Bf16 };
        let [a, b, c] = slots;
        self.emit(i, class, Op::Half { f, mode: HalfMode { format, pair, ftz, sat }, d, a, b, c })
    }

    /// Takes the modifiers of `min` and `max`, of which other instructions have none.
    pub(super) fn extreme(&self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<Extreme> {
        let (nan, product, abs) = (m.takes("NaN"), m.takes("xorsign"), m.takes("abs"));
        if product != abs {
            return self.unsupported(i);
        }
        Ok(Extreme { max: m.name == "max", nan, magnitude: product })
    }
}
