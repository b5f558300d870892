//! The parser's view of the tokens: what comes next, and errors that name its line.

use crate::fault::ParseError;
use crate::lexer::{Token, TokenAt};
use crate::types::Type;

/// How deep blocks, operands and initial values may nest. Those of inline assembly never nest deeper than a few.
const DEEPEST: usize = 64;

/// Reads tokens from `at` on.
pub(super) struct Parser<'p, 't> {
    file: &'p str,
    pub tokens: &'p [TokenAt<'t>],
    pub at: usize,
    /// The number of braces and parentheses that are open.
    depth: usize,
    /// Bytes of all variables that were declared so far, with the gaps between them.
    pub variables: u64,
}

/// The result of parsing a part of the text.
pub(super) type Parsed<T> = Result<T, ParseError>;

impl<'p, 't> Parser<'p, 't> {
    /// Starts at the first token of a file.
    pub fn new(file: &'p str, tokens: &'p [TokenAt<'t>]) -> Self {
        Parser { file, tokens, at: 0, depth: 0, variables: 0 }
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
        if self.depth == DEEPEST {
            return self.fail(format!("{what} are nested deeper than {DEEPEST}"));
        }
        self.depth += 1;
        while !self.takes(end) {
            one(self)?;
        }
        self.depth -= 1;
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
            Some(&Token::Int(n)) => {
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
