//! Constant expressions, as they stand for immediates, lengths, offsets and initial values.

use super::parser::{DEEPEST, Parsed, Parser};
use crate::lexer::Token;

/// What a constant expression gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Signed(i64),
    Unsigned(u64),
    /// The bits of an f32, with which no expression calculates.
    Single(u32),
    Double(f64),
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    BitOr,
    BitXor,
    BitAnd,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Left,
    Right,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

impl Operator {
    /// How tightly the operator binds, as in C.
    fn level(self) -> u32 {
        match self {
            Self::Or => 0,
            Self::And => 1,
            Self::BitOr => 2,
            Self::BitXor => 3,
            Self::BitAnd => 4,
            Self::Equal | Self::NotEqual => 5,
            Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual => 6,
            Self::Left | Self::Right => 7,
            Self::Add | Self::Sub => 8,
            Self::Mul | Self::Div | Self::Rem => TIGHTEST,
        }
    }
}

/// The level of products.
const TIGHTEST: u32 = 9;

impl Value {
    /// The bits of a whole number.
    pub fn whole(self) -> Option<u64> {
        match self {
            Self::Signed(n) => Some(n as u64),
            Self::Unsigned(n) => Some(n),
            Self::Single(_) | Self::Double(_) => None,
        }
    }

    /// Whether the value counts as true; `None` for an f32.
    fn truth(self) -> Option<bool> {
        match self {
            Self::Double(x) => Some(x != 0.0),
            _ => self.whole().map(|n| n != 0),
        }
    }

    /// The value as an f64; `None` for an f32.
    fn double(self) -> Option<f64> {
        match self {
            Self::Signed(n) => Some(n as f64),
            Self::Unsigned(n) => Some(n as f64),
            Self::Double(x) => Some(x),
            Self::Single(_) => None,
        }
    }
}

impl<'t> Parser<'_, 't> {
    /// Takes a constant expression.
    pub(super) fn expression(&mut self) -> Parsed<Value> {
        self.inside(|parser| {
            let first = parser.binary(0)?;
            if !parser.takes('?') {
                return Ok(first);
            }
            let Some(truth) = first.truth() else { return parser.fail("an f32 is no condition") };
            let yes = parser.expression()?;
            parser.need(':')?;
            let no = parser.expression()?;
            Ok(if truth { yes } else { no })
        })
    }

    /// Takes a part of an expression, one level deeper. Expressions stand inside of other things, so that they have levels
    /// of their own.
    fn inside<T>(&mut self, part: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.expressions == DEEPEST {
            return self.over(format!("expressions are nested deeper than {DEEPEST}"));
        }
        self.expressions += 1;
        let taken = part(self)?;
        self.expressions -= 1;
        Ok(taken)
    }

    /// Takes a constant expression that gives a whole number, modulo 2^64.
    pub(super) fn whole(&mut self) -> Parsed<u64> {
        let value = self.expression()?;
        match value.whole() {
            Some(n) => Ok(n),
            None => self.fail("a whole number is needed here"),
        }
    }

    /// Takes `+8`, `-4*2` or nothing: what follows a name.
    pub(super) fn offset(&mut self) -> Parsed<i64> {
        let mut sum = 0i64;
        loop {
            let negative = match self.peek() {
                Some(Token::Punct('+')) => false,
                Some(Token::Punct('-')) => true,
                _ => return Ok(sum),
            };
            self.at += 1;
            let term = self.inside(|parser| parser.binary(TIGHTEST))?;
            let Some(n) = term.whole() else { return self.fail("an offset is a whole number") };
            sum = if negative { sum.wrapping_sub(n as i64) } else { sum.wrapping_add(n as i64) };
        }
    }

    /// Whether the next token can begin an expression that no other operand begins with.
    pub(super) fn at_expression(&self) -> bool {
        match self.peek() {
            Some(Token::Int(_) | Token::Unsigned(_) | Token::F32(_) | Token::F64(_)) => true,
            Some(Token::Punct(c)) => matches!(c, '-' | '+' | '~' | '!' | '('),
            _ => false,
        }
    }

    /// Takes operands with operators that bind at least as tightly as `least`.
    fn binary(&mut self, least: u32) -> Parsed<Value> {
        let mut left = self.unary()?;
        while let Some((operator, tokens)) = self.operator() {
            if operator.level() < least {
                break;
            }
            // `%3` reads as a name: a remainder without a space.
            let right = match self.peek() {
                Some(&Token::Word(word)) => match word[1..].parse() {
                    Ok(n) => {
                        self.at += 1;
                        Value::Signed(n)
                    }
                    Err(_) => return self.expected("an operator"),
                },
                _ => {
                    self.at += tokens;
                    self.binary(operator.level() + 1)?
                }
            };
            left = self.apply(operator, left, right)?;
        }
        Ok(left)
    }

    /// The operator that comes next, and the number of its tokens.
    fn operator(&self) -> Option<(Operator, usize)> {
        use Operator as O;
        let punct = |ahead: usize| match self.tokens.get(self.at + ahead).map(|t| &t.token) {
            Some(&Token::Punct(c)) => Some(c),
            Some(Token::Word(word)) if ahead == 0 && word.starts_with('%') => Some('%'),
            _ => None,
        };
        Some(match (punct(0)?, punct(1)) {
            ('|', Some('|')) => (O::Or, 2),
            ('&', Some('&')) => (O::And, 2),
            ('=', Some('=')) => (O::Equal, 2),
            ('!', Some('=')) => (O::NotEqual, 2),
            ('<', Some('=')) => (O::LessEqual, 2),
            ('>', Some('=')) => (O::GreaterEqual, 2),
            ('<', Some('<')) => (O::Left, 2),
            ('>', Some('>')) => (O::Right, 2),
            ('|', _) => (O::BitOr, 1),
            ('^', _) => (O::BitXor, 1),
            ('&', _) => (O::BitAnd, 1),
            ('<', _) => (O::Less, 1),
            ('>', _) => (O::Greater, 1),
            ('+', _) => (O::Add, 1),
            ('-', _) => (O::Sub, 1),
            ('*', _) => (O::Mul, 1),
            ('/', _) => (O::Div, 1),
            ('%', _) => (O::Rem, 1),
            _ => return None,
        })
    }

    /// Takes a number, a part in parentheses or a cast, with the operators before it.
    fn unary(&mut self) -> Parsed<Value> {
        self.inside(|parser| {
            for sign in ['-', '+', '~', '!'] {
                if parser.takes(sign) {
                    let value = parser.unary()?;
                    return parser.apply_sign(sign, value);
                }
            }
            if parser.takes('(') {
                let Some(to) = parser.peek_word().filter(|w| w.starts_with('.')) else {
                    let value = parser.expression()?;
                    parser.need(')')?;
                    return Ok(value);
                };
                parser.at += 1;
                parser.need(')')?;
                let value = parser.unary()?;
                return parser.cast(to, value);
            }
            let value = match parser.peek() {
                Some(&Token::Int(n)) => i64::try_from(n).map_or(Value::Unsigned(n), Value::Signed),
                Some(&Token::Unsigned(n)) => Value::Unsigned(n),
                Some(&Token::F32(bits)) => Value::Single(bits),
                Some(&Token::F64(bits)) => Value::Double(f64::from_bits(bits)),
                Some(Token::Word("WARP_SZ")) => Value::Signed(32),
                _ => return parser.expected("a number"),
            };
            parser.at += 1;
            Ok(value)
        })
    }

    fn apply_sign(&self, sign: char, value: Value) -> Parsed<Value> {
        Ok(match (sign, value) {
            ('+', value) => value,
            ('-', Value::Signed(n)) => Value::Signed(n.wrapping_neg()),
            ('-', Value::Unsigned(n)) => Value::Unsigned(n.wrapping_neg()),
            ('-', Value::Single(bits)) => Value::Single(bits ^ 1 << 31),
            ('-', Value::Double(x)) => Value::Double(-x),
            ('~', Value::Signed(n)) => Value::Signed(!n),
            ('~', Value::Unsigned(n)) => Value::Unsigned(!n),
            ('!', value) => match value.truth() {
                Some(truth) => Value::Signed(i64::from(!truth)),
                None => return self.fail("`!` of an f32"),
            },
            _ => return self.fail(format!("`{sign}` of a float")),
        })
    }

    fn cast(&self, to: &str, value: Value) -> Parsed<Value> {
        match (to, value.whole()) {
            (".s64", Some(n)) => Ok(Value::Signed(n as i64)),
            (".u64", Some(n)) => Ok(Value::Unsigned(n)),
            _ => self.fail(format!("a cast to `{to}` is not supported")),
        }
    }

    /// Calculates. Two signed numbers give a signed one, with an f64 it is a float, and comparisons give 0 or 1.
    fn apply(&self, operator: Operator, a: Value, b: Value) -> Parsed<Value> {
        use Operator as O;
        if let (O::Or | O::And, Some(x), Some(y)) = (operator, a.truth(), b.truth()) {
            return Ok(Value::Signed(i64::from(if operator == O::Or { x || y } else { x && y })));
        }
        match (a, b) {
            (Value::Single(_), _) | (_, Value::Single(_)) => {
                self.fail("expressions with an f32 are not supported")
            }
            (Value::Double(_), _) | (_, Value::Double(_)) => {
                let (Some(x), Some(y)) = (a.double(), b.double()) else {
                    return self.fail("an f32 in an expression");
                };
                match float(operator, x, y) {
                    Some(value) => Ok(value),
                    None => self.fail("this operator takes no float"),
                }
            }
            (a, b) => {
                let (x, y) = (a.whole().unwrap_or_default(), b.whole().unwrap_or_default());
                let alone = matches!(operator, O::Left | O::Right);
                let signed = matches!(a, Value::Signed(_)) && (alone || matches!(b, Value::Signed(_)));
                let value = if signed {
                    signed_of(operator, x as i64, y as i64)
                } else {
                    unsigned_of(operator, x, y)
                };
                match value {
                    Some(value) => Ok(value),
                    None => self.fail("a division by zero"),
                }
            }
        }
    }
}

/// The result for two floats; `None` for an operator that takes none.
fn float(operator: Operator, x: f64, y: f64) -> Option<Value> {
    use Operator as O;
    Some(match operator {
        O::Add => Value::Double(x + y),
        O::Sub => Value::Double(x - y),
        O::Mul => Value::Double(x * y),
        O::Div => Value::Double(x / y),
        _ => {
            return x
                .partial_cmp(&y)
                .map_or(Some(operator == O::NotEqual), |o| compared(operator, o))
                .map(truth);
        }
    })
}

/// The result for two signed numbers; `None` for a division by zero.
fn signed_of(operator: Operator, x: i64, y: i64) -> Option<Value> {
    use Operator as O;
    Some(Value::Signed(match operator {
        O::Div if y == 0 => return None,
        O::Rem if y == 0 => return None,
        O::Div => x.wrapping_div(y),
        O::Rem => x.wrapping_rem(y),
        O::Right => x >> (y as u64).min(63),
        _ => {
            if let Some(yes) = compared(operator, x.cmp(&y)) {
                return Some(truth(yes));
            }
            bits_of(operator, x as u64, y as u64) as i64
        }
    }))
}

/// The result for two unsigned numbers; `None` for a division by zero.
fn unsigned_of(operator: Operator, x: u64, y: u64) -> Option<Value> {
    use Operator as O;
    Some(Value::Unsigned(match operator {
        O::Div => x.checked_div(y)?,
        O::Rem => x.checked_rem(y)?,
        O::Right if y > 63 => 0,
        O::Right => x >> y,
        _ => {
            if let Some(yes) = compared(operator, x.cmp(&y)) {
                return Some(truth(yes));
            }
            bits_of(operator, x, y)
        }
    }))
}

/// The operators that know no sign.
fn bits_of(operator: Operator, x: u64, y: u64) -> u64 {
    use Operator as O;
    match operator {
        O::Add => x.wrapping_add(y),
        O::Sub => x.wrapping_sub(y),
        O::Mul => x.wrapping_mul(y),
        O::BitOr => x | y,
        O::BitXor => x ^ y,
        O::BitAnd => x & y,
        _ if y > 63 => 0,
        _ => x << y,
    }
}

/// What a comparison says; `None` for other operators.
fn compared(operator: Operator, order: std::cmp::Ordering) -> Option<bool> {
    use Operator as O;
    Some(match operator {
        O::Equal => order.is_eq(),
        O::NotEqual => order.is_ne(),
        O::Less => order.is_lt(),
        O::LessEqual => order.is_le(),
        O::Greater => order.is_gt(),
        O::GreaterEqual => order.is_ge(),
        _ => return None,
    })
}

fn truth(yes: bool) -> Value {
    Value::Signed(i64::from(yes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::tokens;

    fn value(text: &str) -> Parsed<Value> {
        let tokens = tokens("t.ptx", text)?;
        let mut parser = Parser::new("t.ptx", &tokens);
        let value = parser.expression()?;
        if parser.at < tokens.len() { parser.expected("the end") } else { Ok(value) }
    }

    #[test]
    fn expressions_have_the_values_of_c() {
        for (text, want) in [
            ("1 + 2*3", 7),
            ("(1 + 2) * 3", 9),
            ("10 - 4 - 3", 3),
            ("7 % 4", 3),
            ("7%4", 3),
            ("-7 / 2", -3),
            ("-7 % 2", -1),
            ("-8 >> 1", -4),
            ("1 << 4 | 1", 17),
            ("6 ^ 3 & 1", 7),
            ("~0", -1),
            ("!5 + !0", 1),
            ("1 < 2 ? 10 : 20", 10),
            ("0 || 0 ? 10 : 1 == 2 ? 20 : 30", 30),
            ("1 && 2 != 2", 0),
            ("(.s64) 5 - 6", -1),
            ("-1 < 0", 1),
            ("-1 < 0U", 0),
            ("2 * WARP_SZ", 64),
            ("1 << 70", 0),
        ] {
            assert_eq!(value(text), Ok(Value::Signed(want)), "{text}");
        }
        assert_eq!(value("-1 / 2U"), Ok(Value::Unsigned(u64::MAX / 2)));
        assert_eq!(value("(.u64) -1 >> 60"), Ok(Value::Unsigned(15)));
        assert_eq!(value("0x8000000000000000"), Ok(Value::Unsigned(1 << 63)));
        assert_eq!(value("1.5 * 2 + 0.25"), Ok(Value::Double(3.25)));
        assert_eq!(value("-0f3F800000"), Ok(Value::Single(0xbf80_0000)));
    }

    #[test]
    fn what_has_no_value_is_refused() {
        for text in ["1 / 0", "1 % 0", "1 +", "(1", "~1.5", "1 ? 2", "0f00000000 + 1", "(.f32) 1", "5 %x"] {
            assert!(value(text).is_err(), "{text}");
        }
        assert!(value(&format!("{}1", "(".repeat(90_000))).is_err());
        assert!(value(&format!("{}1", "-".repeat(90_000))).is_err());
    }
}
