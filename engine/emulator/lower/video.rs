//! Video instructions, whose operands can be parts of registers: `%r1.h0`, `%r2.b3210`.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use crate::isa::{Compare, Op, Part, Simd, Slot, Then, Video, VideoOp, WordOp};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::Type;

/// Whether an opcode is that of a video instruction.
pub(super) fn is_video(name: &str) -> bool {
    operation(name.trim_end_matches(['2', '4'])).is_some()
}

/// The operation that an opcode names, without the number of parts. `vset` and `vmad` have more of it in their modifiers.
fn operation(name: &str) -> Option<VideoOp> {
    Some(match name {
        "vadd" => VideoOp::Add,
        "vsub" => VideoOp::Sub,
        "vabsdiff" => VideoOp::AbsDiff,
        "vavrg" => VideoOp::Average,
        "vmin" => VideoOp::Min,
        "vmax" => VideoOp::Max,
        "vshl" => VideoOp::Shl { wrap: false },
        "vshr" => VideoOp::Shr { wrap: false },
        "vset" => VideoOp::Set(Compare::Eq),
        "vmad" => VideoOp::Mad { po: false, shift: 0 },
        _ => return None,
    })
}

/// The types of a video instruction.
struct Types {
    signed: bool,
    a_signed: bool,
    b_signed: bool,
}

impl<'t> Builder<'t, '_> {
    /// A video instruction.
    pub(super) fn video(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let name = m.name.trim_end_matches(['2', '4']);
        let Some(mut f) = operation(name) else { return self.unsupported(i) };
        if let VideoOp::Set(_) = f {
            let Some(compare) = m.find(whole_comparison) else { return self.unsupported(i) };
            f = VideoOp::Set(compare);
        }
        let types = self.video_types(i, m, f)?;
        match (m.name.strip_prefix(name), f) {
            (Some(""), VideoOp::Average) => self.unsupported(i),
            (Some(""), _) => self.video_scalar(i, m, f, types),
            (_, VideoOp::Shl { .. } | VideoOp::Shr { .. } | VideoOp::Mad { .. }) => self.unsupported(i),
            (Some("2"), _) => self.video_simd(i, m, f, types, 2),
            (Some("4"), _) => self.video_simd(i, m, f, types, 4),
            _ => self.unsupported(i),
        }
    }

    /// Takes the types: of the result, which `vset` does not name because it is unsigned, and of the first two operands.
    fn video_types(&self, i: &Instruction<'t>, m: &mut Modifiers<'t>, f: VideoOp) -> Lowered<Types> {
        let mut next = || match self.ty(i, m)? {
            Type::S32 => Ok(true),
            Type::U32 => Ok(false),
            _ => self.unsupported(i),
        };
        let signed = if matches!(f, VideoOp::Set(_)) { false } else { next()? };
        let (a_signed, b_signed) = (next()?, next()?);
        let shift = matches!(f, VideoOp::Shl { .. } | VideoOp::Shr { .. });
        if shift && b_signed {
            return self.unsupported(i);
        }
        Ok(Types { signed, a_signed, b_signed })
    }

    /// `vadd.s32.u32.s32.sat.add d, a.b0, b.h1, c` and the like
    fn video_scalar(
        &mut self,
        i: &Instruction<'t>,
        m: &mut Modifiers<'t>,
        mut f: VideoOp,
        types: Types,
    ) -> Lowered<()> {
        let Types { signed, a_signed, b_signed } = types;
        let sat = m.takes("sat");
        if let VideoOp::Shl { wrap } | VideoOp::Shr { wrap } = &mut f {
            *wrap = m.takes("wrap");
            if *wrap == m.takes("clamp") {
                return self.unsupported(i);
            }
        }
        if let VideoOp::Mad { po, shift } = &mut f {
            *po = m.takes("po");
            *shift = m.find(|p| if p == "shr7" { Some(7) } else { None }).unwrap_or(0);
            if *shift == 0 && m.takes("shr15") {
                *shift = 15;
            }
        }
        let second = m.find(|p| {
            Some(match p {
                "add" => Then::Add,
                "min" => Then::Min,
                "max" => Then::Max,
                _ => return None,
            })
        });
        self.done(i, m)?;
        let mad = matches!(f, VideoOp::Mad { .. });
        let (d, a, b, c) = match i.operands.as_slice() {
            [d, a, b] => (d, a, b, None),
            [d, a, b, c] => (d, a, b, Some(c)),
            _ => return self.fail(format!("`{}` has a wrong number of operands", i.opcode)),
        };
        let (d, to) = selected(d);
        let merge = match to {
            None => None,
            Some(to) => match part(to) {
                Some(part) => Some(Then::Merge(part)),
                None => return self.unsupported(i),
            },
        };
        let then = match (second, merge) {
            (None, None) => Then::Nothing,
            (Some(then), None) | (None, Some(then)) => then,
            _ => return self.unsupported(i),
        };
        // With the third operand go a second operation, a merge, or the sum of `vmad`.
        let wrong = (mad && then != Then::Nothing) || c.is_some() != (mad || then != Then::Nothing);
        // The widths of sums that are compared before they are cut to words are not certain.
        let compared = matches!(then, Then::Min | Then::Max);
        let wide = matches!(f, VideoOp::Add | VideoOp::Sub | VideoOp::AbsDiff | VideoOp::Shl { .. });
        // The result of `vmad` is signed where an operand is.
        let mixed = mad && signed != (a_signed || b_signed);
        if wrong || compared && wide && !sat || mixed || sat && matches!(f, VideoOp::Set(_)) {
            return self.unsupported(i);
        }
        let (a, a_part) = self.video_part(i, a)?;
        let (b, b_part) = self.video_part(i, b)?;
        let c = c.map_or(Ok(a), |c| self.src(c, Type::B32))?;
        let d = self.dst(&d, Type::B32)?;
        let video = Video { f, signed, a_signed, b_signed, a: a_part, b: b_part, sat, then };
        self.emit(i, class_of(f), Op::Words { f: WordOp::Video(video), d, a, b, c })
    }

    /// A source operand of which a part may be selected.
    fn video_part(&mut self, i: &Instruction<'t>, operand: &Operand<'t>) -> Lowered<(Slot, Part)> {
        let (register, selector) = selected(operand);
        let part = match selector {
            None => Part::Whole,
            Some(selector) => match part(selector) {
                Some(part) => part,
                None => return self.unsupported(i),
            },
        };
        Ok((self.src(&register, Type::B32)?, part))
    }

    /// `vadd4.s32.s32.s32.sat d.b310, a.b7610, b.b0000, c` and the like
    fn video_simd(
        &mut self,
        i: &Instruction<'t>,
        m: &mut Modifiers<'t>,
        f: VideoOp,
        types: Types,
        count: u32,
    ) -> Lowered<()> {
        let Types { signed, a_signed, b_signed } = types;
        let (sat, add) = (m.takes("sat"), m.takes("add"));
        self.done(i, m)?;
        if sat && (add || matches!(f, VideoOp::Set(_))) {
            return self.unsupported(i);
        }
        let [d, a, b, c] = self.operands(i)?;
        let ((d, to), (a, from_a), (b, from_b)) = (selected(d), selected(a), selected(b));
        let identity = |first: u8| std::array::from_fn(|k| first + k as u8);
        let parts = (
            mask(to, count),
            from_a.map_or(Some(identity(0)), |s| lanes(s, count)),
            from_b.map_or(Some(identity(count as u8)), |s| lanes(s, count)),
        );
        let (Some(mask), Some(from_a), Some(from_b)) = parts else { return self.unsupported(i) };
        let (a, b) = (self.src(&a, Type::B32)?, self.src(&b, Type::B32)?);
        let c = self.src(c, Type::B32)?;
        let d = self.dst(&d, Type::B32)?;
        let simd = Simd { f, count, signed, a_signed, b_signed, a: from_a, b: from_b, mask, sat, add };
        self.emit(i, class_of(f), Op::Words { f: WordOp::Simd(simd), d, a, b, c })
    }
}

/// The class of an operation.
fn class_of(f: VideoOp) -> Class {
    if matches!(f, VideoOp::Mad { .. }) { Class::IntegerMul } else { Class::Integer }
}

/// The comparison of whole numbers that a modifier names.
fn whole_comparison(name: &str) -> Option<Compare> {
    Some(match name {
        "eq" => Compare::Eq,
        "ne" => Compare::Ne,
        "lt" => Compare::Lt,
        "le" => Compare::Le,
        "gt" => Compare::Gt,
        "ge" => Compare::Ge,
        _ => return None,
    })
}

/// Splits an operand into its register and the selector after it: `%r1.h0` into `%r1` and `h0`.
fn selected<'t>(operand: &Operand<'t>) -> (Operand<'t>, Option<&'t str>) {
    let digits = |s: &str| s.len() > 1 && s[1..].bytes().all(|b| b.is_ascii_digit());
    if let Operand::Name(name, 0) = *operand
        && let Some((register, selector)) = name.rsplit_once('.')
        && selector.starts_with(['b', 'h'])
        && digits(selector)
    {
        return (Operand::Name(register, 0), Some(selector));
    }
    (operand.clone(), None)
}

/// The part that a selector of a scalar instruction names.
fn part(selector: &str) -> Option<Part> {
    let kind = selector.chars().next()?;
    let k = selector[1..].parse().ok()?;
    match (kind, k) {
        ('h', 0..=1) if selector.len() == 2 => Some(Part::Half(k)),
        ('b', 0..=3) if selector.len() == 2 => Some(Part::Byte(k)),
        _ => None,
    }
}

/// The digits of a selector of an instruction on `count` parts, the last one first. Each is below `limit`.
fn digits(selector: &str, count: u32, limit: u8) -> Option<Vec<u8>> {
    let kind = if count == 2 { 'h' } else { 'b' };
    let all: Vec<u8> = selector.strip_prefix(kind)?.bytes().rev().map(|b| b.wrapping_sub(b'0')).collect();
    (all.len() <= count as usize && all.iter().all(|&d| d < limit)).then_some(all)
}

/// The parts of the pair that are the operands, lowest first.
fn lanes(selector: &str, count: u32) -> Option<[u8; 4]> {
    let all = digits(selector, count, 2 * count as u8)?;
    let mut out = [0; 4];
    out.get_mut(..count as usize)?.copy_from_slice(all.get(..count as usize)?);
    Some(out)
}

/// The parts that are written, as bits; all of them if nothing is selected. They are named in falling order.
fn mask(selector: Option<&str>, count: u32) -> Option<u8> {
    let Some(selector) = selector else { return Some((1 << count) - 1) };
    let all = digits(selector, count, count as u8)?;
    all.windows(2).all(|w| w[0] < w[1]).then(|| all.iter().fold(0, |mask, d| mask | 1 << d))
}
