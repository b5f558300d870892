//! Operands: registers, numbers, addresses, vectors and pairs.

use super::parser::{Parsed, Parser};
use crate::lexer::Token;
use crate::syntax::Operand;

impl<'t> Parser<'_, 't> {
    /// Takes one operand.
    pub(super) fn operand(&mut self) -> Parsed<Operand<'t>> {
        if self.takes('[') {
            let operand = self.address()?;
            self.need(']')?;
            return Ok(operand);
        }
        if self.takes('{') {
            return Ok(Operand::Vector(self.list('}')?));
        }
        if self.takes('(') {
            return Ok(Operand::List(self.list(')')?));
        }
        if self.takes('!') {
            return Ok(Operand::Not(self.word("a predicate")?));
        }
        let negative = self.takes('-');
        match self.peek() {
            Some(&Token::Int(n)) => {
                self.at += 1;
                Ok(Operand::Int(if negative { n.wrapping_neg() } else { n }))
            }
            Some(&Token::F32(bits)) => {
                self.at += 1;
                Ok(Operand::F32(bits ^ (u32::from(negative) << 31)))
            }
            Some(&Token::F64(bits)) => {
                self.at += 1;
                Ok(Operand::F64(bits ^ (u64::from(negative) << 63)))
            }
            Some(&Token::Word(name)) if !negative => {
                self.at += 1;
                if self.takes('|') {
                    return Ok(Operand::Pair(name, self.word("a predicate")?));
                }
                Ok(Operand::Name(name, self.offset()?))
            }
            _ => self.expected("an operand"),
        }
    }

    /// Takes operands up to `end`, and that too.
    fn list(&mut self, end: char) -> Parsed<Vec<Operand<'t>>> {
        let mut all = Vec::new();
        self.nested(end, "operands", |parser| {
            if !all.is_empty() {
                parser.need(',')?;
            }
            all.push(parser.operand()?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Takes an address after its `[`.
    fn address(&mut self) -> Parsed<Operand<'t>> {
        if let Some(name) = self.peek_word() {
            self.at += 1;
            if self.takes(',') {
                self.need('{')?;
                return Ok(Operand::Tensor(name, self.list('}')?));
            }
            return Ok(Operand::Address(Some(name), self.offset()?));
        }
        Ok(Operand::Address(None, self.int()? as i64))
    }

    /// Takes `+8`, `+-8`, `-8` or nothing.
    fn offset(&mut self) -> Parsed<i64> {
        let negative = if self.takes('+') {
            self.takes('-')
        } else if self.takes('-') {
            true
        } else {
            return Ok(0);
        };
        let n = self.int()? as i64;
        Ok(if negative { n.wrapping_neg() } else { n })
    }
}
