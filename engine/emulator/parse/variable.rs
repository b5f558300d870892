//! Declarations of variables and parameters.

use super::expression::Value;
use super::parser::{Parsed, Parser};
use crate::layout::GLOBAL_GAP;
use crate::lexer::Token;
use crate::syntax::{AddressValue, Variable};
use crate::types::{Space, Type};

/// The most bytes that all variables of a file may have together, with the gap after each. Tables in kernels need far less,
/// and it is cheap to hold.
const MOST_VARIABLES: u64 = 1 << 24;

impl<'t> Parser<'_, 't> {
    /// Takes `.global .align 4 .b8 a[4], b[4];`.
    pub(super) fn variables(&mut self, out: &mut Vec<Variable<'t>>) -> Parsed<()> {
        let head = self.variable_head()?;
        self.variable_names(&head, out)
    }

    /// Takes `a[4], b[4];` after what they have in common.
    pub(super) fn variable_names(&mut self, head: &Variable<'t>, out: &mut Vec<Variable<'t>>) -> Parsed<()> {
        loop {
            let first = self.addresses.len();
            let variable = self.variable(head)?;
            self.addresses[first..].iter_mut().for_each(|a| a.variable = out.len());
            out.push(variable);
            if !self.takes(',') {
                return self.need(';');
            }
        }
    }

    /// Takes `.space .align n .type`, after which one or several names follow.
    pub(super) fn variable_head(&mut self) -> Parsed<Variable<'t>> {
        let word = self.word("a state space")?;
        let Some(space) = Space::parse(&word[1..]) else {
            self.at -= 1;
            return self.fail(format!("state space `{word}` is not supported"));
        };
        let mut align = None;
        loop {
            if self.takes_word(".align") {
                align = Some(self.small()?);
            } else if self.takes_word(".attribute") {
                self.need('(')?;
                self.skip_parentheses()?;
            } else if !self.takes_word(".volatile") {
                break;
            }
        }
        let elements = self.vector();
        let ty = self.ty()?;
        // `.param .u64 .ptr .global .align 16 name` says where the pointer points, which is not needed.
        if space == Space::Param && self.takes_word(".ptr") {
            while let Some(word) = self.peek_word().filter(|w| w.starts_with('.')) {
                self.at += 1;
                if word == ".align" {
                    self.small()?;
                }
            }
        }
        let bytes = ty.bytes() * elements;
        let align = align.unwrap_or(bytes);
        if !align.is_power_of_two() || align > 4096 {
            return self.fail(format!("alignment {align} is not a power of two up to 4096"));
        }
        Ok(Variable { name: "", space, ty, align, bytes: u64::from(bytes), init: Vec::new() })
    }

    /// Takes a name with its dimensions and its initial value. The bytes of the head are those of an element.
    pub(super) fn variable(&mut self, head: &Variable<'t>) -> Parsed<Variable<'t>> {
        let name = self.word("a name")?;
        let mut dims = vec![];
        while self.takes('[') {
            // Of an array without a length, 0 stands for it.
            let dim = if self.peek() == Some(&Token::Punct(']')) { 0 } else { self.whole()? };
            dims.push(dim);
            self.need(']')?;
        }
        let bytes = dims.iter().fold(head.bytes, |bytes, &dim| bytes.saturating_mul(dim));
        let gap = GLOBAL_GAP.max(u64::from(head.align));
        self.variables = self.variables.saturating_add(bytes).saturating_add(gap);
        if self.variables > MOST_VARIABLES {
            return self.over(format!(
                "`{name}` makes the variables of the file larger than {MOST_VARIABLES} bytes"
            ));
        }
        let mut variable = Variable { name, bytes, ..head.clone() };
        if self.takes('=') {
            if !matches!(head.space, Space::Global | Space::Const) {
                return self.fail(format!("`{name}` cannot have initial values in .{} memory", head.space));
            }
            let elements = head.bytes / u64::from(head.ty.bytes());
            if elements > 1 {
                dims.push(elements);
            }
            self.initial(head.ty, &dims, &mut variable.init)?;
            let filled = variable.init.len() as u64;
            match dims.first() {
                Some(0) => variable.bytes = filled.next_multiple_of(head.bytes),
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
        let bytes = ty.bytes() as usize;
        if self.initial_address(ty, out.len())? {
            out.resize(out.len() + bytes, 0);
            return Ok(());
        }
        if !self.at_expression() {
            return self.expected("a number of the variable's type");
        }
        let start = self.at;
        let Some(bits) = element(ty, self.expression()?) else {
            self.at = start;
            return self.expected("a number of the variable's type");
        };
        out.extend_from_slice(&bits.to_le_bytes()[..bytes]);
        Ok(())
    }

    /// Takes an initial value that is an address, if one comes next: `name+4`, `generic(name)+4`, or the bits of one that a
    /// mask keeps, as `0xff00(name)`. `at` is its place in the variable.
    fn initial_address(&mut self, ty: Type, at: usize) -> Parsed<bool> {
        let next = self.tokens.get(self.at + 1).map(|t| &t.token);
        let masked = next == Some(&Token::Punct('('));
        let mut mask = if ty.bits() == 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
        let line = self.line();
        let (name, offset) = match self.peek() {
            Some(&(Token::Int(n) | Token::Unsigned(n))) if masked => {
                if n == 0 {
                    return self.fail("a mask of an address keeps no bits");
                }
                mask = n;
                self.at += 2;
                let address = self.address_value()?;
                self.need(')')?;
                address
            }
            Some(Token::Word(word)) if *word != "WARP_SZ" => self.address_value()?,
            _ => return Ok(false),
        };
        if ty.float() || ty == Type::Pred || ty.bits() < 32 && !masked {
            return self.fail("an address is no value of this type");
        }
        let bytes = ty.bytes() as usize;
        self.addresses.push(AddressValue { variable: 0, at, bytes, name, offset, mask, line });
        Ok(true)
    }

    /// Takes `name+4` or `generic(name)+4`.
    fn address_value(&mut self) -> Parsed<(&'t str, i64)> {
        let mut name = self.word("a name")?;
        if name == "generic" && self.takes('(') {
            name = self.word("a name")?;
            self.need(')')?;
        }
        Ok((name, self.offset()?))
    }
}

/// The bits of an initial value. Floats of 16 bits and pairs have none.
fn element(ty: Type, value: Value) -> Option<u64> {
    Some(match (ty, value) {
        (Type::F32, Value::Signed(n)) => u64::from((n as f32).to_bits()),
        (Type::F32, Value::Unsigned(n)) => u64::from((n as f32).to_bits()),
        (Type::F32 | Type::B32, Value::Single(bits)) => u64::from(bits),
        (Type::F32, Value::Double(x)) => u64::from((x as f32).to_bits()),
        (Type::F64, Value::Signed(n)) => (n as f64).to_bits(),
        (Type::F64, Value::Unsigned(n)) => (n as f64).to_bits(),
        (Type::F64, Value::Single(bits)) => f64::from(f32::from_bits(bits)).to_bits(),
        (Type::F64 | Type::B64, Value::Double(x)) => x.to_bits(),
        (ty, value) if !ty.float() => value.whole()?,
        _ => return None,
    })
}
