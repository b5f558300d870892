//! Declarations of variables and parameters.

use super::parser::{Parsed, Parser};
use crate::layout::GLOBAL_GAP;
use crate::lexer::Token;
use crate::syntax::Variable;
use crate::types::{Space, Type};

/// The most bytes that all variables of a file may have together, with the gap after each. Tables in kernels need far less,
/// and it is cheap to hold.
const MOST_VARIABLES: u64 = 1 << 24;

impl<'t> Parser<'_, 't> {
    /// Takes `.global .align 4 .b8 a[4], b[4];`.
    pub(super) fn variables(&mut self, out: &mut Vec<Variable<'t>>) -> Parsed<()> {
        let head = self.variable_head()?;
        loop {
            out.push(self.variable(&head)?);
            if !self.takes(',') {
                break;
            }
        }
        self.need(';')
    }

    /// Takes `.space .align n .type`, after which one or several names follow.
    pub(super) fn variable_head(&mut self) -> Parsed<Variable<'t>> {
        let word = self.word("a state space")?;
        let Some(space) = Space::parse(&word[1..]) else {
            return self.fail(format!("state space `{word}` is not supported"));
        };
        let mut align = None;
        loop {
            if self.takes_word(".align") {
                align = Some(self.small()?);
            } else if !self.takes_word(".volatile") {
                break;
            }
        }
        let ty = self.ty()?;
        // `.param .u64 .ptr .global .align 16 name` says where the pointer points, which is not needed.
        if space == Space::Param && self.takes_word(".ptr") {
            let _ = self.takes_word(".global") || self.takes_word(".shared") || self.takes_word(".const");
            if self.takes_word(".align") {
                self.small()?;
            }
        }
        let align = align.unwrap_or(ty.bytes());
        if !align.is_power_of_two() || align > 4096 {
            return self.fail(format!("alignment {align} is not a power of two up to 4096"));
        }
        Ok(Variable { name: "", space, ty, align, bytes: 0, init: Vec::new() })
    }

    /// Takes a name with its dimensions and its initial value.
    pub(super) fn variable(&mut self, head: &Variable<'t>) -> Parsed<Variable<'t>> {
        let name = self.word("a name")?;
        let element = u64::from(head.ty.bytes());
        let mut dims = vec![];
        while self.takes('[') {
            // Of an array without a length, 0 stands for it.
            let dim = if self.peek() == Some(&Token::Punct(']')) { 0 } else { self.int()? };
            dims.push(dim);
            self.need(']')?;
        }
        let bytes = dims.iter().fold(element, |bytes, &dim| bytes.saturating_mul(dim));
        let gap = GLOBAL_GAP.max(u64::from(head.align));
        self.variables = self.variables.saturating_add(bytes).saturating_add(gap);
        if self.variables > MOST_VARIABLES {
            return self.fail(format!(
                "`{name}` makes the variables of the file larger than {MOST_VARIABLES} bytes"
            ));
        }
        let mut variable = Variable { name, bytes, ..head.clone() };
        if self.takes('=') {
            if !matches!(head.space, Space::Global | Space::Const) {
                return self.fail(format!("`{name}` cannot have initial values in .{} memory", head.space));
            }
            self.initial(head.ty, &dims, &mut variable.init)?;
            let filled = variable.init.len() as u64;
            match dims.first() {
                Some(0) => variable.bytes = filled,
                _ if filled > bytes => {
                    return self.fail(format!("`{name}` has more initial values than elements"));
                }
                _ => {}
            }
        }
        Ok(variable)
    }

    /// Takes an initial value, or a list of them in braces, as the bytes that it fills of an array of these lengths. What a
    /// list inside of a list leaves out is zero.
    fn initial(&mut self, ty: Type, dims: &[u64], out: &mut Vec<u8>) -> Parsed<()> {
        if self.takes('{') {
            let inner = dims.get(1..).unwrap_or_default();
            let part = inner.iter().fold(u64::from(ty.bytes()), |bytes, &dim| bytes.saturating_mul(dim));
            return self.nested('}', "initial values", |parser| {
                let (start, list) = (out.len() as u64, parser.peek() == Some(&Token::Punct('{')));
                parser.initial(ty, inner, out)?;
                let end = start.saturating_add(part);
                if list && (out.len() as u64 > end || end > MOST_VARIABLES) {
                    return parser.fail("a list of initial values has more than its part of the array");
                }
                if list {
                    out.resize(end as usize, 0);
                }
                if !parser.takes(',') && parser.peek() != Some(&Token::Punct('}')) {
                    return parser.expected("`,` or `}`");
                }
                Ok(())
            });
        }
        let negative = self.takes('-');
        let Some(bits) = self.peek().and_then(|number| element(ty, number, negative)) else {
            return self.expected("a number of the variable's type");
        };
        self.at += 1;
        out.extend_from_slice(&bits.to_le_bytes()[..ty.bytes() as usize]);
        Ok(())
    }
}

/// The bits of an initial value. Floats of 16 bits and pairs have none.
fn element(ty: Type, number: &Token<'_>, negative: bool) -> Option<u64> {
    let bits = match (ty, number) {
        (Type::F32, &Token::Int(n)) => u64::from((n as f32).to_bits()),
        (Type::F32 | Type::B32, &Token::F32(bits)) => u64::from(bits),
        (Type::F32, &Token::F64(bits)) => u64::from((f64::from_bits(bits) as f32).to_bits()),
        (Type::F64, &Token::Int(n)) => (n as f64).to_bits(),
        (Type::F64, &Token::F32(bits)) => f64::from(f32::from_bits(bits)).to_bits(),
        (Type::F64 | Type::B64, &Token::F64(bits)) => bits,
        (ty, &Token::Int(n)) if !ty.float() => return Some(if negative { n.wrapping_neg() } else { n }),
        _ => return None,
    };
    Some(if negative { bits ^ 1 << (ty.bits() - 1) } else { bits })
}
