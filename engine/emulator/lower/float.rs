//! Arithmetic on f32 and f64.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{Exact64, Extreme, Float1, Float2, FloatClass, Mode, Op, Round, WordOp};
use crate::meter::Class;
use crate::syntax::Instruction;
use crate::types::{RegisterFile, Type};

/// The modifiers of an f32 instruction.
#[derive(Clone, Copy)]
struct F32Form {
    /// A rounding is written.
    rounded: bool,
    mode: Mode,
    approx: bool,
    full: bool,
    nan: bool,
}

impl<'t> Builder<'t, '_> {
    /// Arithmetic on any float type.
    pub(super) fn float(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let ty = self.ty(i, m)?;
        if m.name == "testp" {
            return self.test(i, m, ty);
        }
        match ty {
            Type::F32 => self.f32(i, m),
            Type::F64 => self.f64(i, m),
            Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => self.half(i, m, ty),
            _ => self.unsupported(i),
        }
    }

    fn f32(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let rounded = m.round();
        if m.takes("xorsign") {
            return self.f32_magnitude(i, m);
        }
        let form = F32Form {
            rounded: rounded.is_some(),
            mode: Mode { round: rounded.unwrap_or(Round::Nearest), ..m.mode() },
            approx: m.takes("approx"),
            full: m.takes("full"),
            nan: m.takes("NaN"),
        };
        self.done(i, m)?;
        match m.name {
            "add" | "sub" | "mul" | "div" | "min" | "max" | "copysign" => self.f32_binary(i, m.name, form),
            "fma" | "mad" => self.f32_fma(i, form),
            _ => self.f32_unary(i, m.name, form),
        }
    }

    fn f32_binary(&mut self, i: &Instruction<'t>, name: &str, form: F32Form) -> Lowered<()> {
        let F32Form { rounded, mode, approx, full, nan } = form;
        let (f, class) = match name {
            "add" => (Float2::Add, Class::FloatAdd),
            "sub" => (Float2::Sub, Class::FloatAdd),
            "mul" => (Float2::Mul, Class::FloatMul),
            "div" if approx || full => (Float2::Div, Class::Mufu),
            "div" if rounded => (Float2::Div, Class::FloatDivide),
            "min" => (Float2::Min { nan }, Class::Float),
            "max" => (Float2::Max { nan }, Class::Float),
            "copysign" => (Float2::CopySign, Class::Float),
            _ => return self.unsupported(i),
        };
        let allowed = match f {
            Float2::Add | Float2::Sub | Float2::Mul => !approx && !full && !nan,
            Float2::Div => !mode.sat && !nan,
            _ => !rounded && !mode.sat && !approx && !full,
        };
        if !allowed {
            return self.unsupported(i);
        }
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, Type::F32)?, self.src(b, Type::F32)?);
        let d = self.dst(d, Type::F32)?;
        self.emit(i, class, Op::Float { f, mode, d, a, b })
    }

    /// `min` and `max` with `.xorsign.abs`
    fn f32_magnitude(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let (ftz, nan, abs) = (m.takes("ftz"), m.takes("NaN"), m.takes("abs"));
        self.done(i, m)?;
        if !abs || !matches!(m.name, "min" | "max") {
            return self.unsupported(i);
        }
        let [d, a, b] = self.operands(i)?;
        let (a, b) = (self.src(a, Type::F32)?, self.src(b, Type::F32)?);
        let d = self.dst(d, Type::F32)?;
        let f = Extreme { max: m.name == "max", nan, magnitude: true };
        self.emit(i, Class::Float, Op::Words { f: WordOp::Extreme32 { f, ftz }, d, a, b, c: a })
    }

    /// `testp`
    fn test(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>, ty: Type) -> Lowered<()> {
        let f = m.find(|p| {
            Some(match p {
                "finite" => FloatClass::Finite,
                "infinite" => FloatClass::Infinite,
                "number" => FloatClass::Number,
                "notanumber" => FloatClass::NotANumber,
                "normal" => FloatClass::Normal,
                "subnormal" => FloatClass::Subnormal,
                _ => return None,
            })
        });
        self.done(i, m)?;
        let (Some(f), Type::F32 | Type::F64) = (f, ty) else { return self.unsupported(i) };
        let [d, a] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let d = self.dst(d, Type::Pred)?;
        let double = ty == Type::F64;
        let class = if double { Class::Double } else { Class::Float };
        self.emit(i, class, Op::TestFloat { f, double, d, a })
    }

    fn f32_fma(&mut self, i: &Instruction<'t>, form: F32Form) -> Lowered<()> {
        if !form.rounded || form.approx || form.full || form.nan {
            return self.unsupported(i);
        }
        let [d, a, b, c] = self.operands(i)?;
        let (a, b, c) = (self.src(a, Type::F32)?, self.src(b, Type::F32)?, self.src(c, Type::F32)?);
        let d = self.dst(d, Type::F32)?;
        self.emit(i, Class::Fma, Op::Fma { mode: form.mode, d, a, b, c })
    }

    fn f32_unary(&mut self, i: &Instruction<'t>, name: &str, form: F32Form) -> Lowered<()> {
        let F32Form { rounded, mode, approx, full, nan } = form;
        // `sqrt` and `rcp` exist rounded and approximate, the other functions only approximate.
        let f = match (name, approx, rounded) {
            ("neg", false, false) => Float1::Neg,
            ("abs", false, false) => Float1::Abs,
            ("sqrt", true, false) | ("sqrt", false, true) => Float1::Sqrt,
            ("rcp", true, false) | ("rcp", false, true) => Float1::Rcp,
            ("rsqrt", true, false) => Float1::Rsqrt,
            ("ex2", true, false) => Float1::Ex2,
            ("lg2", true, false) => Float1::Lg2,
            ("sin", true, false) => Float1::Sin,
            ("cos", true, false) => Float1::Cos,
            ("tanh", true, false) => Float1::Tanh,
            _ => return self.unsupported(i),
        };
        if full || nan || mode.sat {
            return self.unsupported(i);
        }
        let class = match (f, approx) {
            (Float1::Neg | Float1::Abs, _) => Class::Float,
            (_, true) => Class::Mufu,
            _ => Class::FloatDivide,
        };
        let [d, a] = self.operands(i)?;
        let a = self.src(a, Type::F32)?;
        let d = self.dst(d, Type::F32)?;
        self.emit(i, class, Op::FloatUnary { f, mode, d, a })
    }

    fn f64(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let rounded = m.round();
        let approx = m.takes("approx");
        let ftz = m.takes("ftz");
        self.done(i, m)?;
        if ftz && !approx {
            return self.unsupported(i);
        }
        let ty = Type::F64;
        if let Some(round @ (Round::Zero | Round::Down | Round::Up)) = rounded {
            return if approx { self.unsupported(i) } else { self.f64_directed(i, m.name, round) };
        }
        let f = match m.name {
            "add" => Some(Float2::Add),
            "sub" => Some(Float2::Sub),
            "mul" => Some(Float2::Mul),
            "div" => Some(Float2::Div),
            "min" => Some(Float2::Min { nan: false }),
            "max" => Some(Float2::Max { nan: false }),
            "copysign" => Some(Float2::CopySign),
            _ => None,
        };
        if let (Some(f), false) = (f, approx) {
            let [d, a, b] = self.operands(i)?;
            let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
            let d = self.dst(d, ty)?;
            return self.emit(i, Class::Double, Op::Float64 { f, d, a, b });
        }
        if m.name == "fma" || m.name == "mad" {
            let [d, a, b, c] = self.operands(i)?;
            let (a, b, c) = (self.src(a, ty)?, self.src(b, ty)?, self.src(c, ty)?);
            let d = self.dst(d, ty)?;
            return self.emit(i, Class::Double, Op::Fma64 { d, a, b, c });
        }
        // `rsqrt.approx` is a function of the full width, `rsqrt.approx.ftz` and `rcp.approx.ftz` have half of it.
        let f = match (m.name, approx, ftz) {
            ("neg", false, _) => Float1::Neg,
            ("abs", false, _) => Float1::Abs,
            ("sqrt", false, _) => Float1::Sqrt,
            ("rcp", false, _) | ("rcp", true, true) => Float1::Rcp,
            ("rsqrt", true, _) => Float1::Rsqrt,
            _ => return self.unsupported(i),
        };
        let [d, a] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let d = self.dst(d, ty)?;
        let op = if ftz { Op::Approx64 { f, d, a } } else { Op::Unary64 { f, d, a } };
        self.emit(i, Class::Double, op)
    }

    /// Arithmetic that rounds to one side.
    fn f64_directed(&mut self, i: &Instruction<'t>, name: &str, round: Round) -> Lowered<()> {
        let (f, count) = match name {
            "add" => (Exact64::Add, 2),
            "sub" => (Exact64::Sub, 2),
            "mul" => (Exact64::Mul, 2),
            "fma" | "mad" => (Exact64::Fma, 3),
            "div" => (Exact64::Div, 2),
            // The reciprocal is the quotient of one.
            "rcp" => (Exact64::Div, 1),
            "sqrt" => (Exact64::Sqrt, 1),
            _ => return self.unsupported(i),
        };
        let [d, sources @ ..] = i.operands.as_slice() else { return self.unsupported(i) };
        if sources.len() != count {
            return self.fail(format!("`{}` needs {count} source operands", i.opcode));
        }
        let mut slots = [0; 3];
        for (slot, source) in slots.iter_mut().zip(sources) {
            *slot = self.src(source, Type::F64)?;
        }
        for k in count..3 {
            slots[k] = slots[0];
        }
        if name == "rcp" {
            slots[0] = self.constant(RegisterFile::Double, 1f64.to_bits());
        }
        let d = self.dst(d, Type::F64)?;
        let [a, b, c] = slots;
        self.emit(i, Class::Double, Op::Directed64 { f, round, d, a, b, c })
    }
}
