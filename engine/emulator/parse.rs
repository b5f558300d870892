//! The parser: module directives, functions, statements and operands. What an opcode means is decided in lowering.

mod operand;

use crate::ParseError;
use crate::lexer::{Token, tokens};
use crate::syntax::{Function, Instruction, Statement, Text, Variable};
use crate::types::{Space, Type};

/// Blocks nest in inline assembly, never deeper than a few.
const DEEPEST: usize = 64;
/// Bytes of all variables of a file together: far more than tables in kernels need, and cheap to hold.
const MOST_VARIABLES: u64 = 1 << 26;

pub(crate) fn parse<'t>(file: &str, text: &'t str) -> Result<Text<'t>, ParseError> {
    let tokens = tokens(file, text)?;
    let mut parser = Parser { file, tokens: &tokens, at: 0, depth: 0, variables: 0 };
    let mut out = Text::default();
    while parser.at < tokens.len() {
        parser.top(&mut out)?;
    }
    Ok(out)
}

struct Parser<'p, 't> {
    file: &'p str,
    tokens: &'p [(Token<'t>, u32)],
    at: usize,
    depth: usize,
    /// Bytes declared so far.
    variables: u64,
}

type Parsed<T> = Result<T, ParseError>;

impl<'t> Parser<'_, 't> {
    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.1)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError { file: self.file.into(), line: self.line(), message: message.into() })
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        match self.peek() {
            Some(token) => self.fail(format!("expected {what}, found {token:?}")),
            None => self.fail(format!("expected {what}, found the end of the file")),
        }
    }

    fn peek(&self) -> Option<&Token<'t>> {
        self.tokens.get(self.at).map(|t| &t.0)
    }

    fn peek_word(&self) -> Option<&'t str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn word(&mut self, what: &str) -> Parsed<&'t str> {
        match self.peek_word() {
            Some(word) => {
                self.at += 1;
                Ok(word)
            }
            None => self.expected(what),
        }
    }

    /// Takes `c` if it comes next.
    fn takes(&mut self, c: char) -> bool {
        let yes = self.peek() == Some(&Token::Punct(c));
        self.at += usize::from(yes);
        yes
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let yes = self.peek_word() == Some(word);
        self.at += usize::from(yes);
        yes
    }

    fn need(&mut self, c: char) -> Parsed<()> {
        if self.takes(c) { Ok(()) } else { self.expected(&format!("`{c}`")) }
    }

    fn int(&mut self) -> Parsed<u64> {
        match self.peek() {
            Some(&Token::Int(n)) => {
                self.at += 1;
                Ok(n)
            }
            _ => self.expected("a whole number"),
        }
    }

    fn small(&mut self) -> Parsed<u32> {
        let n = self.int()?;
        u32::try_from(n).or_else(|_| self.fail(format!("{n} is too large here")))
    }

    fn top(&mut self, out: &mut Text<'t>) -> Parsed<()> {
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

    fn skip_to_semicolon(&mut self) -> Parsed<()> {
        while !self.takes(';') {
            if self.at >= self.tokens.len() {
                return self.expected("`;`");
            }
            self.at += 1;
        }
        Ok(())
    }

    /// None for a declaration without a body.
    fn function(&mut self, entry: bool) -> Parsed<Option<Function<'t>>> {
        let mut function = Function {
            name: "",
            entry,
            params: Vec::new(),
            returns: Vec::new(),
            max_threads: None,
            exact_threads: false,
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
                Some(".minnctapersm" | ".maxnctapersm" | ".maxnreg") => {
                    self.at += 1;
                    self.int()?;
                }
                Some(".noreturn") => self.at += 1,
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

    fn triple(&mut self) -> Parsed<[u32; 3]> {
        let mut all = [self.small()?, 1, 1];
        for n in &mut all[1..] {
            if self.takes(',') {
                *n = self.small()?;
            }
        }
        Ok(all)
    }

    /// After `(`.
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

    /// `.space .align n .type`, after which one or several names follow.
    fn variable_head(&mut self) -> Parsed<Variable<'t>> {
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
        // `.param .u64 .ptr .global .align 16 name`: what the pointer points to.
        if space == Space::Param && self.takes_word(".ptr") {
            let _ = self.takes_word(".global") || self.takes_word(".shared") || self.takes_word(".const");
            if self.takes_word(".align") {
                self.small()?;
            }
        }
        let align = align.unwrap_or(ty.bytes());
        if !align.is_power_of_two() || align > 4096 {
            return self.fail(format!("alignment {align} is no power of two up to 4096"));
        }
        Ok(Variable { name: "", space, ty, align, bytes: 0, init: Vec::new() })
    }

    fn ty(&mut self) -> Parsed<Type> {
        let word = self.word("a type")?;
        match word.strip_prefix('.').and_then(Type::parse) {
            Some(ty) => Ok(ty),
            None => {
                self.at -= 1;
                self.expected("a type")
            }
        }
    }

    /// Name, dimensions and initial value.
    fn variable(&mut self, head: &Variable<'t>) -> Parsed<Variable<'t>> {
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
        self.variables = self.variables.saturating_add(bytes);
        if self.variables > MOST_VARIABLES {
            return self.fail(format!(
                "`{name}` makes the variables of the file larger than {MOST_VARIABLES} bytes"
            ));
        }
        let mut variable = Variable { name, bytes, ..head.clone() };
        if self.takes('=') {
            self.initial(head.ty, &mut variable.init)?;
            if variable.init.len() as u64 > bytes {
                return self.fail(format!("`{name}` has more initial values than elements"));
            }
        }
        Ok(variable)
    }

    fn initial(&mut self, ty: Type, out: &mut Vec<u8>) -> Parsed<()> {
        if self.takes('{') {
            while !self.takes('}') {
                self.initial(ty, out)?;
                if !self.takes(',') && self.peek() != Some(&Token::Punct('}')) {
                    return self.expected("`,` or `}`");
                }
            }
            return Ok(());
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

    /// `.global .align 4 .b8 a[4], b[4];`
    fn variables(&mut self, out: &mut Vec<Variable<'t>>) -> Parsed<()> {
        let head = self.variable_head()?;
        loop {
            out.push(self.variable(&head)?);
            if !self.takes(',') {
                break;
            }
        }
        self.need(';')
    }

    /// After `{`, up to and with `}`.
    fn block(&mut self) -> Parsed<Vec<Statement<'t>>> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.fail("blocks nested too deep");
        }
        let mut all = Vec::new();
        while !self.takes('}') {
            self.statement(&mut all)?;
        }
        self.depth -= 1;
        Ok(all)
    }

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
            Some((self.word("a predicate")?, negated))
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
                out.push(Statement::Source(file, line));
                Ok(())
            }
            ".pragma" => self.skip_to_semicolon(),
            _ => self.fail(format!("directive `{word}` is not supported")),
        }
    }

    /// `, function_name $L__info_string0, inlined_at 1 36 51`
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
