//! `cvt`, `cvta` and `isspacep`.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{Convert, Op, Round};
use crate::meter::Class;
use crate::syntax::Instruction;
use crate::types::{Space, Type};

impl<'t> Builder<'t, '_> {
    /// `cvt`
    pub(super) fn convert(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let whole = m.find(|p| {
            Some(match p {
                "rni" => Round::Nearest,
                "rzi" => Round::Zero,
                "rmi" => Round::Down,
                "rpi" => Round::Up,
                _ => return None,
            })
        });
        let rounded = m.round();
        let (ftz, sat, relu) = (m.takes("ftz"), m.takes("sat"), m.takes("relu"));
        let to = self.ty(i, m)?;
        if to == Type::Bf16x2 {
            return self.convert_pair(i, m, rounded, relu);
        }
        let from = self.ty(i, m)?;
        self.done(i, m)?;
        let convert = Convert {
            to,
            from,
            round: whole.or(rounded),
            whole: whole.is_some(),
            ftz,
            sat,
            relu,
            register_bits: 0,
        };
        if !exists(&convert, rounded.is_some()) {
            return self.unsupported(i);
        }
        let [d, a] = self.operands(i)?;
        let (has, a) = self.src_any(a, from)?;
        let (gets, d) = self.dst_any(d, to)?;
        let too_narrow = has.bits() < from.bits() || gets.bits() < to.bits();
        // A float or 64-bit value needs a register of its own width.
        let wrong = (from.float() && has.bits() != from.bits()) || (to.float() && gets.bits() != to.bits());
        if too_narrow || wrong || has == Type::Pred || gets == Type::Pred {
            return self.fail(format!(
                "`{}` cannot use registers of {} and {} bits",
                i.opcode,
                gets.bits(),
                has.bits()
            ));
        }
        // A narrower source in the low bits of a 64-bit register is taken out first.
        let a = if has.bits() == 64 && from.bits() < 64 {
            let (low, high) = (self.new_slot(Type::B32.file()), self.new_slot(Type::B32.file()));
            self.emit(i, Class::Move, Op::Unpack64 { low, high, a })?;
            low
        } else {
            a
        };
        self.emit(
            i,
            Class::Convert,
            Op::Convert { convert: Convert { register_bits: gets.bits(), ..convert }, d, a },
        )
    }

    /// `cvt.rn.bf16x2.f32 d, a, b`, where `a` goes to the upper half.
    fn convert_pair(
        &mut self,
        i: &Instruction<'t>,
        m: &mut Modifiers<'t>,
        round: Option<Round>,
        relu: bool,
    ) -> Lowered<()> {
        let (Some(round @ (Round::Nearest | Round::Zero)), Type::F32) = (round, self.ty(i, m)?) else {
            return self.unsupported(i);
        };
        self.done(i, m)?;
        let [d, high, low] = self.operands(i)?;
        let (high, low) = (self.src(high, Type::F32)?, self.src(low, Type::F32)?);
        let d = self.dst(d, Type::B32)?;
        self.emit(i, Class::Convert, Op::ConvertPair { round, relu, d, high, low })
    }

    /// `cvta` and `isspacep`
    pub(super) fn generic(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let to = m.takes("to");
        let Some(space) = m.find(Space::parse) else { return self.unsupported(i) };
        if m.name == "isspacep" {
            self.done(i, m)?;
            // No parameter has a generic address here.
            if space == Space::Param {
                return self.unsupported(i);
            }
            let [d, a] = self.operands(i)?;
            let a = self.src(a, Type::U64)?;
            let d = self.dst(d, Type::Pred)?;
            return self.emit(i, Class::Integer, Op::IsSpace { space, d, a });
        }
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty != Type::U64 || space == Space::Param {
            return self.unsupported(i);
        }
        let [d, a] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Move, Op::Generic { space, to, d, a })
    }
}

/// Whether PTX has this conversion and the emulator runs it.
fn exists(c: &Convert, plain_round: bool) -> bool {
    let plain = |ty: Type| ty.integer();
    let wide = |ty: Type| matches!(ty, Type::F32 | Type::F64);
    if c.relu && !(c.to == Type::Bf16 && c.from == Type::F32) {
        return false;
    }
    match (c.to, c.from) {
        (to, from) if plain(to) && plain(from) => c.round.is_none() && !c.ftz,
        (to, from) if plain(to) && wide(from) => c.whole && !(c.ftz && from == Type::F64),
        (to, from) if wide(to) && plain(from) => c.round.is_some() && !c.whole && !(c.ftz && to == Type::F64),
        (Type::F32, Type::F32) | (Type::F64, Type::F64) => {
            (c.whole || c.round.is_none()) && !(c.ftz && c.to == Type::F64)
        }
        (Type::F32, Type::F64) => plain_round,
        (Type::F64, Type::F32) => c.round.is_none(),
        (Type::Bf16, Type::F32) => {
            matches!(c.round, Some(Round::Nearest | Round::Zero)) && !c.whole && !c.sat
        }
        (Type::F16, Type::F32) => c.round == Some(Round::Nearest) && !c.whole && !c.sat,
        (Type::F32, Type::F16) => c.round.is_none(),
        _ => false,
    }
}
