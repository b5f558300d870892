//! Statements: blocks, labels, declarations of registers, and instructions.

use super::parser::{Parsed, Parser};
use crate::fault::ParseError;
use crate::syntax::{Guard, Instruction, Statement};

impl<'t> Parser<'_, 't> {
    /// Takes the statements of a block after its `{`, and its `}`.
    pub(super) fn block(&mut self) -> Parsed<Vec<Statement<'t>>> {
        let mut all = Vec::new();
        self.nested('}', "blocks", |parser| parser.statement(&mut all))?;
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
                if self.takes_word(".branchtargets") {
                    let mut labels = vec![self.word("a label")?];
                    while self.takes(',') {
                        labels.push(self.word("a label")?);
                    }
                    self.need(';')?;
                    out.push(Statement::Targets { name: word, labels });
                } else {
                    out.push(Statement::Label(word));
                }
                return Ok(());
            }
        }
        let mut operands = Vec::new();
        while !self.takes(';') {
            if !operands.is_empty() {
                self.need(',')?;
            }
            operands.push(
                self.operand()
                    .map_err(|e| ParseError { message: format!("`{word}`: {}", e.message), ..e })?,
            );
        }
        out.push(Statement::Instruction(Instruction { guard, opcode: word, operands, line }));
        Ok(())
    }

    /// Takes a directive within a function.
    fn body_directive(&mut self, word: &str, out: &mut Vec<Statement<'t>>) -> Parsed<()> {
        match word {
            ".reg" => {
                self.at += 1;
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
                    out.push(Statement::Registers { ty, name, count });
                    if !self.takes(',') {
                        return self.need(';');
                    }
                }
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
            ".pragma" => self.skip_to_semicolon(),
            _ => self.fail(format!("directive `{word}` is not supported")),
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
