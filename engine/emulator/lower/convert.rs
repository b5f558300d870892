//! `cvt`, `cvta` and `isspacep`.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use super::names::{Home, Name};
use crate::isa::{Convert, Op, Round, Small, ToSmall, WordOp};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::{Space, Type};

impl<'t> Builder<'t, '_> {
    /// `cvt`
    pub(super) fn convert(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        if m.takes("pack") {
            return self.convert_pack(i, m);
        }
        let whole = m.find(|p| {
            Some(match p {
                "rni" => Round::Nearest,
                "rzi" => Round::Zero,
                "rmi" => Round::Down,
                "rpi" => Round::Up,
                _ => return None,
            })
        });
        let (rounded, away) = (m.round(), m.takes("rna"));
        let (ftz, sat) = (m.takes("ftz"), m.takes("sat"));
        let (relu, finite) = (m.takes("relu"), m.takes("satfinite"));
        let formats: [Option<Form>; 2] = [m.find(Form::parse), m.find(Form::parse)];
        if let [Some(to), from] = formats {
            if whole.is_some() || ftz || sat {
                return self.unsupported(i);
            }
            let round = if away { Some(Round::Nearest) } else { rounded };
            return self.convert_small(i, m, (round, away), (relu, finite), (to, from));
        }
        let to = self.ty(i, m)?;
        let from = self.ty(i, m)?;
        self.done(i, m)?;
        if away {
            return self.unsupported(i);
        }
        let convert = Convert {
            to,
            from,
            round: whole.or(rounded),
            whole: whole.is_some(),
            ftz,
            sat,
            relu,
            finite,
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

    /// Conversions of pairs, and those to tf32. The first operand of two goes to the upper half.
    fn convert_small(
        &mut self,
        i: &Instruction<'t>,
        m: &mut Modifiers<'t>,
        (round, away): (Option<Round>, bool),
        (relu, finite): (bool, bool),
        (to, from): (Form, Option<Form>),
    ) -> Lowered<()> {
        let f32 = m.takes("f32") && i.opcode.ends_with(".f32");
        self.done(i, m)?;
        let Some(round) = round else { return self.unsupported(i) };
        let how = ToSmall { to: to.format, round, away, relu, finite };
        let near = round == Round::Nearest && !away;
        let fp8 = |form: Form| form.bits == 16;
        match (to.format, from, f32) {
            (Small::Tf32, None, true) => {
                let exists =
                    if away { !relu } else { !finite && matches!(round, Round::Nearest | Round::Zero) };
                let ([d, a], true) = (self.operands(i)?, exists) else { return self.unsupported(i) };
                let a = self.src(a, Type::F32)?;
                let d = self.dst(d, Type::B32)?;
                self.emit(i, Class::Convert, Op::Words { f: WordOp::Narrow(how), d, a, b: a, c: a })
            }
            (Small::F16 | Small::Bf16 | Small::E4m3 | Small::E5m2, None, true) => {
                let exists = if fp8(to) { near && finite } else { near || round == Round::Zero && !away };
                let ([d, high, low], true) = (self.operands(i)?, exists) else { return self.unsupported(i) };
                let (high, low) = (self.src(high, Type::F32)?, self.src(low, Type::F32)?);
                let d = self.dst(d, to.ty())?;
                self.emit(i, Class::Convert, Op::ConvertPair { how, d, high, low })
            }
            (_, Some(from), false) => {
                let exists = match (to.format, from.format) {
                    (Small::E4m3 | Small::E5m2, Small::F16) => near && finite,
                    (Small::F16, Small::E4m3 | Small::E5m2) => near && !finite,
                    _ => false,
                };
                let ([d, a], true) = (self.operands(i)?, exists) else { return self.unsupported(i) };
                let a = self.src(a, from.ty())?;
                let d = self.dst(d, to.ty())?;
                let f = WordOp::NarrowPair { from: from.format, how };
                self.emit(i, Class::Convert, Op::Words { f, d, a, b: a, c: a })
            }
            _ => self.unsupported(i),
        }
    }

    /// `cvt.pack.sat.u16.s32 d, a, b` and `cvt.pack.sat.u8.s32.b32 d, a, b, c`
    fn convert_pack(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let to = m.find(|p| {
            Some(match p {
                "u2" => (2, false),
                "s2" => (2, true),
                "u4" => (4, false),
                "s4" => (4, true),
                "u8" => (8, false),
                "s8" => (8, true),
                "u16" => (16, false),
                "s16" => (16, true),
                _ => return None,
            })
        });
        let (sat, word, third) = (m.takes("sat"), m.takes("s32"), m.takes("b32"));
        self.done(i, m)?;
        let ordered = i.opcode.ends_with(if third { ".s32.b32" } else { ".s32" });
        let (Some((bits, signed)), true, true) = (to, sat && ordered, word) else {
            return self.unsupported(i);
        };
        let (d, a, b, c) = match i.operands.as_slice() {
            [d, a, b] if bits == 16 && !third => (d, a, b, None),
            [d, a, b, c] if bits < 16 && third => (d, a, b, Some(c)),
            _ => return self.unsupported(i),
        };
        let (a, b) = (self.src(a, Type::S32)?, self.src(b, Type::S32)?);
        let c = c.map_or(Ok(a), |c| self.src(c, Type::B32))?;
        let d = self.dst(d, Type::B32)?;
        self.emit(i, Class::Convert, Op::Words { f: WordOp::PackSat { bits, signed }, d, a, b, c })
    }

    /// `cvta` and `isspacep`
    pub(super) fn generic(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let to = m.takes("to");
        let Some(space) = m.find(Space::parse) else { return self.unsupported(i) };
        if m.name == "isspacep" {
            self.done(i, m)?;
            let [d, a] = self.operands(i)?;
            let a = self.src(a, Type::U64)?;
            let d = self.dst(d, Type::Pred)?;
            return self.emit(i, Class::Integer, Op::IsSpace { space, d, a });
        }
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty != Type::U64 {
            return self.unsupported(i);
        }
        let [d, a] = self.operands(i)?;
        let space = self.generic_space(space, a)?;
        let a = self.src(a, ty)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Move, Op::Generic { space, to, d, a })
    }
}

/// The formats that lie in pairs, and tf32, with the bits of their registers.
#[derive(Clone, Copy)]
struct Form {
    format: Small,
    bits: u32,
}

impl Form {
    /// The format that a modifier names, written without its dot.
    fn parse(name: &str) -> Option<Self> {
        let (format, bits) = match name {
            "f16x2" => (Small::F16, 32),
            "bf16x2" => (Small::Bf16, 32),
            "tf32" => (Small::Tf32, 32),
            "e4m3x2" => (Small::E4m3, 16),
            "e5m2x2" => (Small::E5m2, 16),
            _ => return None,
        };
        Some(Self { format, bits })
    }

    /// The type of a register.
    fn ty(self) -> Type {
        if self.bits == 16 { Type::B16 } else { Type::B32 }
    }
}

impl<'t> Builder<'t, '_> {
    /// The space that `cvta` means. Parameters of functions lie in local memory, those of a kernel in a window of their own.
    fn generic_space(&mut self, space: Space, a: &Operand<'t>) -> Lowered<Space> {
        if space != Space::Param {
            return Ok(space);
        }
        if let Operand::Name(name, _) = a
            && let Some(Name::Variable(Home { space: Space::Local, .. })) = self.lookup(name)?
        {
            return Ok(Space::Local);
        }
        if self.frame.is_some() || !self.calls.is_empty() {
            return self.fail("cvta.param of a register in a function is not supported");
        }
        self.program.generic_params = true;
        Ok(space)
    }
}

/// Whether PTX has this conversion and the emulator runs it.
fn exists(c: &Convert, plain_round: bool) -> bool {
    use Type::{Bf16, F16, F32, F64};
    let half = |ty: Type| matches!(ty, F16 | Bf16);
    // bf16 and bytes do not meet.
    if c.to == Bf16 && c.from.bits() == 8 || c.from == Bf16 && c.to.bits() == 8 {
        return false;
    }
    let cut = matches!(c.round, Some(Round::Nearest | Round::Zero)) && !c.whole && !c.sat;
    if (c.relu || c.finite) && !(half(c.to) && c.from == F32 && cut && !c.ftz) {
        return false;
    }
    // `.ftz` is for the denormals of f32, and bf16 does not know `.sat`.
    if c.ftz && c.to != F32 && c.from != F32 || c.sat && (c.to == Bf16 || c.from == Bf16) {
        return false;
    }
    match (c.to, c.from) {
        (to, from) if to.integer() && from.integer() => c.round.is_none(),
        (to, from) if to.integer() && from.float() => c.whole,
        (to, from) if to.float() && from.integer() => plain_round && !c.whole,
        (F16, F16) | (Bf16, Bf16) | (F32, F32) | (F64, F64) => c.whole || c.round.is_none(),
        (F64, F32 | F16) | (F32, F16) => c.round.is_none(),
        (F64 | F32, Bf16) => !c.whole,
        (F32, F64) | (F16 | Bf16, F32 | F64) | (F16, Bf16) | (Bf16, F16) => plain_round && !c.whole,
        _ => false,
    }
}
