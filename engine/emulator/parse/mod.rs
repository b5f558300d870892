//! The parser. It reads the directives of a module, functions, statements and operands; what an opcode means is decided
//! in [`crate::lower`].

mod expression;
mod operand;
mod parser;
mod statement;
mod variable;

use self::parser::{Parsed, Parser, begins_function};
use crate::fault::ParseError;
use crate::lexer::{Token, tokens};
use crate::syntax::{Function, ParsedFile, Variable};
use crate::types::{Space, Type};

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
    out.addresses = parser.addresses;
    Ok(out)
}

impl<'t> Parser<'_, 't> {
    /// Takes a directive of the module.
    fn top(&mut self, out: &mut ParsedFile<'t>) -> Parsed<()> {
        let Some(word) = self.peek_word() else { return self.rest_of_function(out) };
        self.at += 1;
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
            ".extern" if matches!(self.peek_word(), Some(".global" | ".const")) => {
                let from = out.refused.len();
                let (mut declared, line) = (Vec::new(), self.line());
                let addresses = self.addresses.len();
                self.module_variables(&mut declared, &mut out.refused)?;
                self.addresses.truncate(addresses);
                if out.refused.len() == from {
                    let file = self.file();
                    out.refused.extend(declared.iter().map(|v| {
                        let message =
                            format!("`{}` is declared .extern, and this file does not define it", v.name);
                        (v.name, ParseError { file: file.into(), line, message })
                    }));
                }
            }
            ".visible" | ".extern" | ".weak" | ".common" => {}
            ".alias" => {
                let name = self.word("a function")?;
                self.need(',')?;
                out.aliases.push((name, self.word("a function")?));
                self.need(';')?;
            }
            ".entry" | ".func" => {
                if let Some(function) = self.function(word == ".entry")? {
                    out.functions.push(function);
                }
            }
            ".global" | ".const" | ".shared" => {
                self.at -= 1;
                self.module_variables(&mut out.variables, &mut out.refused)?;
            }
            ".pragma" => self.skip_to_semicolon()?,
            _ if word.starts_with('.') => {
                self.at -= 1;
                let error = self.fail::<()>(format!("directive `{word}` is not supported"));
                self.refuse_names(error, &mut out.refused)?;
            }
            _ => {
                self.at -= 1;
                return self.rest_of_function(out);
            }
        }
        Ok(())
    }

    /// Takes variables of the module. Those of a type that the emulator does not have are kept as refused names.
    fn module_variables(
        &mut self,
        out: &mut Vec<Variable<'t>>,
        refused: &mut Vec<(&'t str, ParseError)>,
    ) -> Parsed<()> {
        match self.variable_head() {
            Ok(head) => self.variable_names(&head, out),
            Err(error) if !self.failed() && self.peek_word().is_some_and(unknown_type) => {
                self.refuse_names(Err(error), refused)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a directive up to its semicolon, and keeps the names that it declares as ones that cannot be used.
    fn refuse_names(&mut self, error: Parsed<()>, refused: &mut Vec<(&'t str, ParseError)>) -> Parsed<()> {
        let Err(error) = error else { return Ok(()) };
        let (mut wanted, mut open, first) = (true, 0, refused.len());
        while !self.takes(';') {
            match self.peek() {
                // It has a body, or no end.
                None | Some(Token::Word(".entry" | ".func" | ".visible")) => return Err(error),
                Some(&Token::Word(name)) if !name.starts_with('.') && wanted => {
                    refused.push((name, error.clone()));
                    wanted = false;
                }
                Some(Token::Punct(',')) => wanted = open == 0,
                Some(Token::Punct('{')) => open += 1,
                Some(Token::Punct('}')) => open -= 1,
                _ => {}
            }
            self.at += 1;
        }
        if refused.len() == first { Err(error) } else { Ok(()) }
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
            refused: None,
            line: self.line(),
        };
        self.refused = None;
        while self.takes_word(".attribute") {
            self.need('(')?;
            self.skip_parentheses()?;
        }
        if self.takes('(') {
            function.returns = self.formals()?;
        }
        function.name = self.word("a function name")?;
        if self.takes('(') {
            function.params = self.formals()?;
        }
        while let Some(word) = self.peek_word() {
            if !self.function_directive(word, &mut function)? {
                break;
            }
        }
        if self.takes(';') {
            return Ok(None);
        }
        self.need('{')?;
        function.body = match self.block() {
            Err(error) if std::mem::take(&mut self.cut) => {
                self.start_over();
                self.refused.get_or_insert(error);
                Vec::new()
            }
            body => body?,
        };
        function.refused = self.refused.take();
        Ok(Some(function))
    }

    /// Takes what stands between functions and is no directive: the rest of the last one, whose body a brace has ended too
    /// early. That function is refused.
    fn rest_of_function(&mut self, out: &mut ParsedFile<'t>) -> Parsed<()> {
        let Err(error) = self.expected::<()>("a directive") else { return Ok(()) };
        let Some(function) = out.functions.last_mut() else { return Err(error) };
        function.refused.get_or_insert(error);
        while self.at < self.tokens.len() && !self.peek_word().is_some_and(begins_function) {
            self.at += 1;
        }
        Ok(())
    }

    /// Takes a directive between the parameters of a function and its body. Returns false for another word.
    fn function_directive(&mut self, word: &str, function: &mut Function<'t>) -> Parsed<bool> {
        self.at += 1;
        match word {
            ".maxntid" => function.max_threads = Some(self.triple()?),
            ".reqntid" => {
                function.max_threads = Some(self.triple()?);
                function.exact_threads = true;
            }
            ".minnctapersm" => function.min_blocks = Some(self.int()?),
            ".maxnreg" => function.max_registers = Some(self.int()?),
            ".reqnctapercluster" => function.cluster = self.triple()?,
            ".maxnctapersm" | ".maxclusterrank" => {
                self.int()?;
            }
            ".noreturn" | ".explicitcluster" | ".blocksareclusters" => {}
            ".pragma" => self.skip_to_semicolon()?,
            _ if word.starts_with('.') => {
                self.at -= 1;
                let error = self.fail::<()>(format!("directive `{word}` is not supported"));
                self.at += 1;
                if let Err(error) = error {
                    self.refused.get_or_insert(error);
                }
                while matches!(self.peek(), Some(Token::Int(_) | Token::Unsigned(_) | Token::Punct(','))) {
                    self.at += 1;
                }
            }
            _ => {
                self.at -= 1;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the parameters of a function after their `(`, and the `)`. If they cannot be read, the function is refused.
    fn formals(&mut self) -> Parsed<Vec<Variable<'t>>> {
        let start = self.at;
        match self.params() {
            Err(error) if !self.failed() => {
                self.at = start;
                self.expressions = 0;
                self.skip_parentheses()?;
                self.refused.get_or_insert(error);
                Ok(Vec::new())
            }
            all => all,
        }
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

/// Whether a word stands where a type or a space does, and is none that the emulator has.
fn unknown_type(word: &str) -> bool {
    word.strip_prefix('.').is_some_and(|name| Type::parse(name).is_none() && Space::parse(name).is_none())
}
