//! The lexer, which turns PTX text into tokens, each with its line.

use std::fmt;

use crate::fault::ParseError;

/// The most characters of a name, a number or a string. PTX asks for 1024 in names.
const LONGEST: usize = 1024;
/// The most tokens of a file, each of which takes up to about 100 bytes once it is parsed. The largest file that we have,
/// the selective scan's, has 0.8 million.
const MOST_TOKENS: usize = 1 << 22;

/// The smallest part of the text that has a meaning.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'t> {
    /// An identifier, a directive or an opcode with its dots: `ld.global.v4.f32`, `%tid.x`, `.reg`, `$L__BB0_1`.
    Word(&'t str),
    /// A whole number, which is signed where it fits into 64 bits so.
    Int(u64),
    /// A whole number with `U` after it.
    Unsigned(u64),
    /// The bits of an f32, written as `0f...`.
    F32(u32),
    /// The bits of an f64, written as `0d...` or as a decimal literal.
    F64(u64),
    /// A string, without its quotes.
    Text(&'t str),
    /// Any other character.
    Punct(char),
}

/// How messages name a token.
impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Int(n) | Self::Unsigned(n) => write!(f, "`{n}`"),
            Self::F32(bits) => write!(f, "`0f{bits:08X}`"),
            Self::F64(bits) => write!(f, "`0d{bits:016X}`"),
            Self::Text(text) => write!(f, "the string {text:?}"),
            Self::Punct(c) => write!(f, "`{c}`"),
        }
    }
}

/// A token and its line, from 1.
#[derive(Debug)]
pub(crate) struct TokenAt<'t> {
    pub token: Token<'t>,
    pub line: u32,
}

/// Splits the text of a file into tokens; `file` is its name for messages.
///
/// # Errors
/// Names the first line with something that is not a token.
pub(crate) fn tokens<'t>(file: &str, text: &'t str) -> Result<Vec<TokenAt<'t>>, ParseError> {
    let mut lexer = Lexer { file, text, at: 0, line: 1 };
    let mut out = Vec::with_capacity((text.len() / 4).min(MOST_TOKENS));
    while let Some(token) = lexer.next()? {
        if out.len() == MOST_TOKENS {
            return Err(lexer.error(format!("the file has more than {MOST_TOKENS} tokens")));
        }
        out.push(token);
    }
    Ok(out)
}

/// Reads the text from byte `at` on.
struct Lexer<'f, 't> {
    file: &'f str,
    text: &'t str,
    at: usize,
    line: u32,
}

impl<'t> Lexer<'_, 't> {
    fn error(&self, message: String) -> ParseError {
        ParseError { file: self.file.into(), line: self.line, message }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space and comments.
    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = &self.text[self.at..];
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let end = rest.find("*/").ok_or_else(|| self.error("a comment has no end".into()))? + 2;
                self.line += rest[..end].matches('\n').count() as u32;
                self.at += end;
            } else if rest.starts_with(|c: char| c.is_ascii_whitespace()) {
                self.line += u32::from(rest.starts_with('\n'));
                self.at += 1;
            } else {
                return Ok(());
            }
        }
    }

    /// The next token; `None` at the end of the text.
    fn next(&mut self) -> Result<Option<TokenAt<'t>>, ParseError> {
        self.skip_blanks()?;
        let Some(c) = self.peek() else { return Ok(None) };
        let line = self.line;
        let token = match c {
            b'%' if !self.named() => {
                self.at += 1;
                Token::Punct('%')
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'%' | b'.' => Token::Word(self.word()?),
            b'0'..=b'9' => self.number()?,
            b'"' => {
                let rest = &self.text[self.at + 1..];
                let end = rest.find('"').ok_or_else(|| self.error("a string has no end".into()))?;
                self.at += end + 2;
                Token::Text(self.bounded(&rest[..end])?)
            }
            c if c.is_ascii_punctuation() => {
                self.at += 1;
                Token::Punct(c as char)
            }
            _ => return Err(self.error("a character is not ASCII".into())),
        };
        Ok(Some(TokenAt { token, line }))
    }

    /// Refuses a part of the text that is too long, so that neither messages nor searches for it are.
    fn bounded(&self, part: &'t str) -> Result<&'t str, ParseError> {
        if part.len() > LONGEST {
            let length = part.len();
            return Err(self.error(format!("a name of {length} characters is longer than {LONGEST}")));
        }
        Ok(part)
    }

    /// Whether the `%` that comes next begins a name; it may be the operator too.
    fn named(&self) -> bool {
        let next = self.text.as_bytes().get(self.at + 1);
        next.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$'))
    }

    /// Takes a word. A directive ends where the next begins, as in `.reg.b32`, and a register where the next begins.
    fn word(&mut self) -> Result<&'t str, ParseError> {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let directive = bytes[0] == b'.';
        let mut end = 1;
        while end < bytes.len() {
            match bytes[end] {
                b'.' | b'$' if directive => break,
                b'_' | b'$' | b'.' => end += 1,
                c if c.is_ascii_alphanumeric() => end += 1,
                // `.L1::no_allocate` is one word, but `$L__BB0_1:` ends before its colon.
                b':' if bytes.get(end + 1) == Some(&b':') => end += 2,
                _ => break,
            }
        }
        self.at += end;
        self.bounded(&rest[..end])
    }

    fn number(&mut self) -> Result<Token<'t>, ParseError> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
        let word = self.bounded(&rest[..end])?;
        self.at += end;
        let bad = || self.error(format!("`{word}` is not a number"));
        let hex = |digits: &str, wanted: usize| {
            if digits.len() == wanted { u64::from_str_radix(digits, 16).ok() } else { None }
        };
        if let Some(digits) = word.strip_prefix("0f").or(word.strip_prefix("0F")) {
            return Ok(Token::F32(hex(digits, 8).ok_or_else(bad)? as u32));
        }
        if let Some(digits) = word.strip_prefix("0d").or(word.strip_prefix("0D")) {
            return Ok(Token::F64(hex(digits, 16).ok_or_else(bad)?));
        }
        if word.contains('.') {
            return Ok(Token::F64(word.parse::<f64>().map_err(|_| bad())?.to_bits()));
        }
        let digits = word.trim_end_matches('U');
        let parsed = if let Some(d) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
            u64::from_str_radix(d, 16)
        } else if let Some(d) = digits.strip_prefix("0b").or(digits.strip_prefix("0B")) {
            u64::from_str_radix(d, 2)
        } else if digits.len() > 1 && digits.starts_with('0') {
            u64::from_str_radix(digits, 8)
        } else {
            digits.parse()
        };
        let n = parsed.map_err(|_| bad())?;
        Ok(if digits.len() == word.len() { Token::Int(n) } else { Token::Unsigned(n) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Token<'_>> {
        tokens("t.ptx", text).unwrap().into_iter().map(|t| t.token).collect()
    }

    #[test]
    fn opcodes_labels_and_registers_are_words() {
        use Token::{Punct, Word};
        assert_eq!(
            words("$L_1: @!%p1 ld.global.L1::no_allocate.v2.f32"),
            [
                Word("$L_1"),
                Punct(':'),
                Punct('@'),
                Punct('!'),
                Word("%p1"),
                Word("ld.global.L1::no_allocate.v2.f32")
            ]
        );
    }

    #[test]
    fn numbers_of_every_form() {
        use Token::{F32, F64, Int, Unsigned};
        assert_eq!(
            words("0f3F800000 0d3FF0000000000000 0x8000U 17 0b101 010 1.5"),
            [
                F32(0x3f80_0000),
                F64(1f64.to_bits()),
                Unsigned(0x8000),
                Int(17),
                Int(5),
                Int(8),
                F64(1.5f64.to_bits())
            ]
        );
    }

    #[test]
    fn lines_count_through_comments() {
        let all = tokens("t.ptx", "a // x\n/* 1\n2 */ b\n\nc").unwrap();
        assert_eq!(all.iter().map(|t| t.line).collect::<Vec<_>>(), [1, 3, 5]);
    }

    #[test]
    fn bad_text_is_named_with_its_line() {
        for text in ["\n0f12", "\n\"abc", "\n/* x", "\n0xZZ", "\n99999999999999999999999", "\né"] {
            assert_eq!(tokens("t.ptx", text).unwrap_err().line, 2, "{text:?}");
        }
    }
}
