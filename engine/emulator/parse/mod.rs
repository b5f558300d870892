//! The parser. It reads the directives of a module, functions, statements and operands; what an opcode means is decided
//! in [`crate::lower`].

mod operand;
mod parser;
mod statement;
mod variable;

use self::parser::{Parsed, Parser};
use crate::fault::ParseError;
use crate::lexer::{Token, tokens};
use crate::syntax::{Function, ParsedFile, Variable};

/// Parses a PTX file; `file` is its name for messages.
///
/// # Errors
/// Names the first line that cannot be parsed.
pub(crate) fn parse<'t>(file: &str, text: &'t str) -> Result<ParsedFile<'t>, ParseError> {
    let tokens = tokens(file, text)?;
    let mut parser = Parser::new(file, &tokens);
    let mut out = ParsedFile::default();
    while parser.at < tokens.len() {
        parser.top(&mut out)?;
    }
    Ok(out)
}

impl<'t> Parser<'_, 't> {
    /// Takes a directive of the module.
    fn top(&mut self, out: &mut ParsedFile<'t>) -> Parsed<()> {
        let word = self.word("a directive")?;
        match word {
            ".version" | ".address_size" => {
                self.at += 1;
            }
            ".target" => {
                self.word("a target")?;
                while self.takes(',') {
                    self.word("a target")?;
                }
            }
            ".file" => {
                let number = self.int()?;
                let Some(&Token::Text(name)) = self.peek() else { return self.expected("a file name") };
                self.at += 1;
                while self.takes(',') {
                    self.int()?;
                }
                out.sources.push((number, name));
            }
            ".section" => self.skip_section()?,
            ".visible" | ".extern" | ".weak" | ".common" => {}
            ".entry" | ".func" => {
                if let Some(function) = self.function(word == ".entry")? {
                    out.functions.push(function);
                }
            }
            ".global" | ".const" | ".shared" => {
                self.at -= 1;
                self.variables(&mut out.variables)?;
            }
            ".pragma" => self.skip_to_semicolon()?,
            _ => {
                self.at -= 1;
                return self.fail(format!("directive `{word}` is not supported"));
            }
        }
        Ok(())
    }

    /// Takes a section, whose content is not needed.
    fn skip_section(&mut self) -> Parsed<()> {
        self.word("a section name")?;
        self.need('{')?;
        while !self.takes('}') {
            if self.at >= self.tokens.len() {
                return self.expected("`}`");
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Takes a function or a kernel. Returns `None` for a declaration without a body.
    fn function(&mut self, entry: bool) -> Parsed<Option<Function<'t>>> {
        let mut function = Function {
            name: "",
            entry,
            params: Vec::new(),
            returns: Vec::new(),
            max_threads: None,
            exact_threads: false,
            min_blocks: None,
            max_registers: None,
            cluster: [1; 3],
            body: Vec::new(),
            line: self.line(),
        };
        if self.takes('(') {
            function.returns = self.params()?;
        }
        function.name = self.word("a function name")?;
        if self.takes('(') {
            function.params = self.params()?;
        }
        loop {
            match self.peek_word() {
                Some(".maxntid") => {
                    self.at += 1;
                    function.max_threads = Some(self.triple()?);
                }
                Some(".reqntid") => {
                    self.at += 1;
                    function.max_threads = Some(self.triple()?);
                    function.exact_threads = true;
                }
                Some(".minnctapersm") => {
                    self.at += 1;
                    function.min_blocks = Some(self.int()?);
                }
                Some(".maxnreg") => {
                    self.at += 1;
                    function.max_registers = Some(self.int()?);
                }
                Some(".maxnctapersm") => {
                    self.at += 1;
                    self.int()?;
                }
                Some(".reqnctapercluster") => {
                    self.at += 1;
                    function.cluster = self.triple()?;
                }
                Some(".maxclusterrank") => {
                    self.at += 1;
                    self.int()?;
                }
                Some(".noreturn" | ".explicitcluster" | ".blocksareclusters") => self.at += 1,
                Some(".pragma") => self.skip_to_semicolon()?,
                _ => break,
            }
        }
        if self.takes(';') {
            return Ok(None);
        }
        self.need('{')?;
        function.body = self.block()?;
        Ok(Some(function))
    }

    /// Takes up to three whole numbers; those that are left out are 1.
    fn triple(&mut self) -> Parsed<[u32; 3]> {
        let mut all = [self.small()?, 1, 1];
        for n in &mut all[1..] {
            if self.takes(',') {
                *n = self.small()?;
            }
        }
        Ok(all)
    }

    /// Takes the parameters of a function after their `(`, and the `)`.
    fn params(&mut self) -> Parsed<Vec<Variable<'t>>> {
        let mut all = Vec::new();
        while !self.takes(')') {
            if !all.is_empty() {
                self.need(',')?;
            }
            let Some(".param") = self.peek_word() else { return self.expected("`.param`") };
            let variable = self.variable_head()?;
            all.push(self.variable(&variable)?);
        }
        Ok(all)
    }
}
