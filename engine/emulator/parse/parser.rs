//! The parser's view of the tokens: what comes next, and errors that name its line.

use crate::fault::ParseError;
use crate::lexer::{Token, TokenAt};
use crate::syntax::AddressValue;
use crate::types::Type;

/// How deep blocks, operands and initial values may nest. Those of inline assembly never nest deeper than a few.
pub(super) const DEEPEST: usize = 64;

/// Reads tokens from `at` on.
pub(super) struct Parser<'p, 't> {
    file: &'p str,
    pub tokens: &'p [TokenAt<'t>],
    pub at: usize,
    /// The number of braces and parentheses that are open.
    depth: usize,
    /// The number of expressions that are open.
    pub expressions: usize,
    /// Bytes of all variables that were declared so far, with the gaps between them.
    pub variables: u64,
    /// The initial values so far that are addresses.
    pub addresses: Vec<AddressValue<'t>>,
    /// The last error is not one of a single function: the file is beyond a limit, or no PTX.
    fatal: bool,
    /// A function without an end was left where the next one begins.
    pub cut: bool,
    /// The first error in the function that is being read.
    pub refused: Option<ParseError>,
}

/// The result of parsing a part of the text.
pub(super) type Parsed<T> = Result<T, ParseError>;

impl<'p, 't> Parser<'p, 't> {
    /// Starts at the first token of a file.
    pub fn new(file: &'p str, tokens: &'p [TokenAt<'t>]) -> Self {
        Parser {
            file,
            tokens,
            at: 0,
            depth: 0,
            expressions: 0,
            variables: 0,
            addresses: Vec::new(),
            fatal: false,
            cut: false,
            refused: None,
        }
    }

    /// The name of the file, for messages.
    pub fn file(&self) -> &'p str {
        self.file
    }

    /// The line of the next token, or of the last at the end of the file.
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line)
    }

    /// Fails at the next token.
    pub fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError { file: self.file.into(), line: self.line(), message: message.into() })
    }

    /// Fails because the next token is not what it has to be.
    pub fn expected<T>(&self, what: &str) -> Parsed<T> {
        match self.peek() {
            Some(token) => self.fail(format!("expected {what}, found {token}")),
            None => self.fail(format!("expected {what}, found the end of the file")),
        }
    }

    /// Takes everything up to `end` and that too, after what opened it: `one` takes each part. `what` names the parts in
    /// the error about too many levels, each of which needs a part of the stack.
    pub fn nested(
        &mut self,
        end: char,
        what: &str,
        mut one: impl FnMut(&mut Self) -> Parsed<()>,
    ) -> Parsed<()> {
        self.deeper(what, |parser| {
            while !parser.takes(end) {
                one(parser)?;
            }
            Ok(())
        })
    }

    /// Takes what lies one level deeper; see [`Parser::nested`].
    pub fn deeper<T>(&mut self, what: &str, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEEPEST {
            return self.over(format!("{what} are nested deeper than {DEEPEST}"));
        }
        self.depth += 1;
        let taken = inner(self)?;
        self.depth -= 1;
        Ok(taken)
    }

    /// Fails at the next token for the whole file, which is beyond a limit.
    pub fn over<T>(&mut self, message: impl Into<String>) -> Parsed<T> {
        self.fatal = true;
        self.fail(message)
    }

    /// Takes what may be wrong without harm to the rest of the file: where `one` fails, everything up to a semicolon, or
    /// to the end of the block, is skipped, and the error is kept as that of the function.
    ///
    /// # Errors
    /// What concerns the whole file: a limit, or text that ends in a statement. Where another function begins, `cut` tells
    /// that only this one is lost.
    pub fn forgiving(&mut self, one: impl FnOnce(&mut Self) -> Parsed<()>) -> Parsed<()> {
        let (start, depth) = (self.at, self.depth);
        let Err(error) = one(self) else { return Ok(()) };
        if self.fatal || self.cut {
            return Err(error);
        }
        self.at = start;
        self.depth = depth;
        self.expressions = 0;
        let mut open = 0;
        loop {
            match self.peek() {
                Some(Token::Word(word)) if begins_function(word) => {
                    self.cut = true;
                    return Err(error);
                }
                None => {
                    self.fatal = true;
                    return Err(error);
                }
                Some(Token::Punct('}')) if open == 0 => break,
                Some(Token::Punct('}')) => open -= 1,
                Some(Token::Punct('{')) => open += 1,
                Some(Token::Punct(';')) => {
                    self.at += 1;
                    break;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.refused.get_or_insert(error);
        Ok(())
    }

    /// Begins outside of all functions again.
    pub fn start_over(&mut self) {
        (self.depth, self.expressions) = (0, 0);
    }

    /// Whether the last error concerns the whole file.
    pub fn failed(&self) -> bool {
        self.fatal
    }

    /// Takes everything up to the `)` that belongs to a `(` which was taken, and that too.
    pub fn skip_parentheses(&mut self) -> Parsed<()> {
        let mut open = 1;
        while open > 0 {
            match self.peek() {
                None => return self.over("expected `)`, found the end of the file"),
                Some(Token::Punct('(')) => open += 1,
                Some(Token::Punct(')')) => open -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    /// The next token.
    pub fn peek(&self) -> Option<&Token<'t>> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    /// The next token, if it is a word.
    pub fn peek_word(&self) -> Option<&'t str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Takes a word; `what` names it in the error.
    pub fn word(&mut self, what: &str) -> Parsed<&'t str> {
        match self.peek_word() {
            Some(word) => {
                self.at += 1;
                Ok(word)
            }
            None => self.expected(what),
        }
    }

    /// Takes the character `c` if it comes next.
    pub fn takes(&mut self, c: char) -> bool {
        let yes = self.peek() == Some(&Token::Punct(c));
        self.at += usize::from(yes);
        yes
    }

    /// Takes `word` if it comes next.
    pub fn takes_word(&mut self, word: &str) -> bool {
        let yes = self.peek_word() == Some(word);
        self.at += usize::from(yes);
        yes
    }

    /// Takes the character `c`, which has to come next.
    pub fn need(&mut self, c: char) -> Parsed<()> {
        if self.takes(c) { Ok(()) } else { self.expected(&format!("`{c}`")) }
    }

    /// Takes a whole number.
    pub fn int(&mut self) -> Parsed<u64> {
        match self.peek() {
            Some(&(Token::Int(n) | Token::Unsigned(n))) => {
                self.at += 1;
                Ok(n)
            }
            _ => self.expected("a whole number"),
        }
    }

    /// Takes a whole number of 32 bits.
    pub fn small(&mut self) -> Parsed<u32> {
        let n = self.int()?;
        u32::try_from(n).or_else(|_| self.fail(format!("{n} is too large here")))
    }

    /// Takes everything up to a semicolon, and that too.
    pub fn skip_to_semicolon(&mut self) -> Parsed<()> {
        while !self.takes(';') {
            if self.at >= self.tokens.len() {
                return self.expected("`;`");
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Takes a type.
    pub fn ty(&mut self) -> Parsed<Type> {
        let word = self.word("a type")?;
        match word.strip_prefix('.').and_then(Type::parse) {
            Some(ty) => Ok(ty),
            None => {
                self.at -= 1;
                self.expected("a type")
            }
        }
    }
}

/// Whether a word begins a function or a kernel, and stands in none.
pub(super) fn begins_function(word: &str) -> bool {
    matches!(word, ".visible" | ".weak" | ".extern" | ".entry" | ".func")
}
