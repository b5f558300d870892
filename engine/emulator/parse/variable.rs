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
        let mut bytes = u64::from(head.ty.bytes());
        while self.takes('[') {
            if self.takes(']') {
                bytes = 0;
                continue;
            }
            bytes = bytes.saturating_mul(self.int()?);
            self.need(']')?;
        }
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
            self.initial(head.ty, &mut variable.init)?;
            if variable.init.len() as u64 > bytes {
                return self.fail(format!("`{name}` has more initial values than elements"));
            }
        }
        Ok(variable)
    }

    /// Takes an initial value, or a list of them in braces, as the bytes that it fills.
    fn initial(&mut self, ty: Type, out: &mut Vec<u8>) -> Parsed<()> {
        if self.takes('{') {
            return self.nested('}', "initial values", |parser| {
                parser.initial(ty, out)?;
                if !parser.takes(',') && parser.peek() != Some(&Token::Punct('}')) {
                    return parser.expected("`,` or `}`");
                }
                Ok(())
            });
        }
        let negative = self.takes('-');
        let bits = match self.peek() {
            Some(&Token::Int(n)) if ty == Type::F64 => (n as f64).to_bits(),
            Some(&Token::Int(n)) => n,
            Some(&Token::F32(bits)) => u64::from(bits),
            Some(&Token::F64(bits)) => bits,
            _ => return self.expected("a number"),
        };
        self.at += 1;
        let bits = if negative { bits.wrapping_neg() } else { bits };
        out.extend_from_slice(&bits.to_le_bytes()[..ty.bytes() as usize]);
        Ok(())
    }
}
