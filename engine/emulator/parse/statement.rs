//! Statements: blocks, labels, declarations of registers, and instructions.

use super::parser::{Parsed, Parser};
use crate::fault::ParseError;
use crate::lexer::Token;
use crate::syntax::{Guard, Instruction, Prototype, Statement};

impl<'t> Parser<'_, 't> {
    /// Takes the statements of a block after its `{`, and its `}`. Those that cannot be read are left out, and the first
    /// error is kept as that of the function.
    pub(super) fn block(&mut self) -> Parsed<Vec<Statement<'t>>> {
        let mut all = Vec::new();
        self.nested('}', "blocks", |parser| parser.forgiving(|parser| parser.statement(&mut all)))?;
        Ok(all)
    }

    /// Takes one statement.
    fn statement(&mut self, out: &mut Vec<Statement<'t>>) -> Parsed<()> {
        if self.takes(';') {
            return Ok(());
        }
        if self.takes('{') {
            let block = self.block()?;
            out.push(Statement::Block(block));
            return Ok(());
        }
        let guard = if self.takes('@') {
            let negated = self.takes('!');
            Some(Guard { name: self.word("a predicate")?, negated })
        } else {
            None
        };
        let line = self.line();
        let word = self.word("an instruction")?;
        if guard.is_none() {
            if word.starts_with('.') {
                self.at -= 1;
                return self.body_directive(word, out);
            }
            if self.takes(':') {
                return self.labelled(word, out);
            }
        }
        let list = word == "call" || word.starts_with("call.");
        let mut operands = Vec::new();
        let named = |e: ParseError| ParseError { message: format!("`{word}`: {}", e.message), ..e };
        while !self.takes(';') {
            if !operands.is_empty() {
                self.need(',')?;
            }
            operands.push(self.operand(list).map_err(named)?);
        }
        out.push(Statement::Instruction(Instruction { guard, opcode: word, operands, line }));
        Ok(())
    }

    /// Takes what follows the `:` of a label: a list of names, a prototype, or nothing.
    fn labelled(&mut self, name: &'t str, out: &mut Vec<Statement<'t>>) -> Parsed<()> {
        if self.takes_word(".branchtargets") || self.takes_word(".calltargets") {
            let mut labels = vec![self.word("a label")?];
            while self.takes(',') {
                labels.push(self.word("a label")?);
            }
            out.push(Statement::Targets { name, labels });
            return self.need(';');
        }
        if self.takes_word(".callprototype") {
            let returns = if self.takes('(') { self.params()? } else { Vec::new() };
            self.word("`_`")?;
            let params = if self.takes('(') { self.params()? } else { Vec::new() };
            let _ = self.takes_word(".noreturn");
            out.push(Statement::Prototype(Box::new(Prototype { name, params, returns })));
            return self.need(';');
        }
        out.push(Statement::Label(name));
        Ok(())
    }

    /// Takes a directive within a function.
    fn body_directive(&mut self, word: &str, out: &mut Vec<Statement<'t>>) -> Parsed<()> {
        match word {
            ".reg" => {
                self.at += 1;
                self.registers(out)
            }
            ".shared" | ".local" | ".param" => {
                let mut all = Vec::new();
                self.variables(&mut all)?;
                out.extend(all.into_iter().map(Statement::Variable));
                Ok(())
            }
            ".loc" => {
                self.at += 1;
                let (file, line) = (self.int()?, self.small()?);
                self.int()?;
                self.inlined_at()?;
                out.push(Statement::Source { file, line });
                Ok(())
            }
            ".pragma" => {
                self.at += 1;
                loop {
                    let Some(&Token::Text(text)) = self.peek() else { return self.expected("a string") };
                    if let Some(mask) = text.strip_prefix("used_bytes_mask") {
                        let Some(mask) = number(mask.trim()) else {
                            return self.fail(format!("`{text}` has no mask of 32 bits"));
                        };
                        out.push(Statement::UsedBytes(mask));
                    }
                    self.at += 1;
                    if !self.takes(',') {
                        return self.need(';');
                    }
                }
            }
            _ => self.fail(format!("directive `{word}` is not supported")),
        }
    }

    /// Takes `.f32 %f<3>, %g;` after `.reg`.
    fn registers(&mut self, out: &mut Vec<Statement<'t>>) -> Parsed<()> {
        let elements = self.vector();
        let ty = self.ty()?;
        loop {
            let name = self.word("a register")?;
            let count = if self.takes('<') {
                let count = self.small()?;
                self.need('>')?;
                Some(count)
            } else {
                None
            };
            out.push(Statement::Registers { ty, elements, name, count });
            if !self.takes(',') {
                return self.need(';');
            }
        }
    }

    /// Takes `.v2` or `.v4` if it comes next, as the number of elements.
    pub(super) fn vector(&mut self) -> u32 {
        if self.takes_word(".v2") {
            2
        } else if self.takes_word(".v4") {
            4
        } else {
            1
        }
    }

    /// Takes `, function_name $L__info_string0, inlined_at 1 36 51` if it is there.
    fn inlined_at(&mut self) -> Parsed<()> {
        while self.takes(',') {
            match self.word("`function_name` or `inlined_at`")? {
                "function_name" => {
                    self.word("a label")?;
                    if self.takes('+') {
                        self.int()?;
                    }
                }
                "inlined_at" => {
                    for _ in 0..3 {
                        self.int()?;
                    }
                }
                other => return self.fail(format!("`{other}` in .loc is not supported")),
            }
        }
        Ok(())
    }
}

/// A number in a string: decimal, or with `0x` before it.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
