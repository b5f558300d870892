//! Operands: registers, numbers, addresses, vectors and pairs.

use super::expression::Value;
use super::parser::{Parsed, Parser};
use crate::lexer::Token;
use crate::syntax::Operand;

impl<'t> Parser<'_, 't> {
    /// Takes one operand. Parentheses hold a `list` of operands in calls, and an expression elsewhere.
    pub(super) fn operand(&mut self, list: bool) -> Parsed<Operand<'t>> {
        if self.takes('[') {
            let operand = self.address()?;
            self.need(']')?;
            return Ok(operand);
        }
        if self.takes('{') {
            return Ok(Operand::Vector(self.list('}')?));
        }
        if list && self.takes('(') {
            return Ok(Operand::List(self.list(')')?));
        }
        let next = self.tokens.get(self.at + 1).map(|t| &t.token);
        if let (Some(Token::Punct('!')), Some(&Token::Word(name))) = (self.peek(), next) {
            self.at += 2;
            return Ok(Operand::Not(name));
        }
        if let Some(name) = self.peek_word() {
            self.at += 1;
            if self.takes('|') {
                return Ok(Operand::Pair(name, self.word("a predicate")?));
            }
            return Ok(Operand::Name(name, self.offset()?));
        }
        if !self.at_expression() {
            return self.expected("an operand");
        }
        Ok(match self.expression()? {
            Value::Signed(n) => Operand::Int(n as u64),
            Value::Unsigned(n) => Operand::Int(n),
            Value::Single(bits) => Operand::F32(bits),
            Value::Double(x) => Operand::F64(x.to_bits()),
        })
    }

    /// Takes operands up to `end`, and that too.
    fn list(&mut self, end: char) -> Parsed<Vec<Operand<'t>>> {
        let mut all = Vec::new();
        self.nested(end, "operands", |parser| {
            if !all.is_empty() {
                parser.need(',')?;
            }
            all.push(parser.operand(end == ')')?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Takes an address after its `[`.
    fn address(&mut self) -> Parsed<Operand<'t>> {
        if let Some(name) = self.peek_word() {
            self.at += 1;
            return Ok(Operand::Address(Some(name), self.offset()?));
        }
        Ok(Operand::Address(None, self.whole()? as i64))
    }
}
