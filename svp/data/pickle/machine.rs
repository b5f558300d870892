//! The stack machine. Each opcode is one step; the steps stand in three tables: those that work on the stack and the
//! memo, those that push a plain value, and those that push a container.

use std::collections::HashMap;

use engine::budget::Claim;

use super::value::{Node, NodeId, Object, Pickle, Value};

/// A pickle with more opcodes than this is refused; a released Vim checkpoint has about 20,000, CIFAR-100 about 300,000.
pub const MAX_OPCODES: usize = 1 << 22;

/// Where and why reading stopped.
#[derive(Debug, thiserror::Error)]
#[error("pickle opcode {opcode} at byte {offset}: {what}")]
pub struct PickleError {
    /// Position of the opcode in the bytes that were given.
    pub offset: usize,
    /// Its name, or its value where it has none.
    pub opcode: String,
    /// What is wrong.
    pub what: String,
}

/// Declares the opcodes: a constant for each number, and its name for errors.
macro_rules! opcodes {
    ($($name:ident = $byte:literal)*) => {
        $(const $name: u8 = $byte;)*
        fn opcode_name(opcode: u8) -> String {
            match opcode {
                $($byte => stringify!($name).into(),)*
                unknown => format!("{unknown:#04x}"),
            }
        }
    };
}

opcodes! {
    MARK = b'(' STOP = b'.' POP = b'0' POP_MARK = b'1' DUP = b'2' FLOAT = b'F' INT = b'I' BININT = b'J'
    BININT1 = b'K' LONG = b'L' BININT2 = b'M' NONE = b'N' PERSID = b'P' BINPERSID = b'Q' REDUCE = b'R'
    STRING = b'S' BINSTRING = b'T' SHORT_BINSTRING = b'U' UNICODE = b'V' BINUNICODE = b'X' APPEND = b'a'
    BUILD = b'b' GLOBAL = b'c' DICT = b'd' EMPTY_DICT = b'}' APPENDS = b'e' GET = b'g' BINGET = b'h'
    INST = b'i' LONG_BINGET = b'j' LIST = b'l' EMPTY_LIST = b']' OBJ = b'o' PUT = b'p' BINPUT = b'q'
    LONG_BINPUT = b'r' SETITEM = b's' TUPLE = b't' EMPTY_TUPLE = b')' SETITEMS = b'u' BINFLOAT = b'G'
    BINBYTES = b'B' SHORT_BINBYTES = b'C' PROTO = 0x80 NEWOBJ = 0x81 TUPLE1 = 0x85 TUPLE2 = 0x86
    TUPLE3 = 0x87 NEWTRUE = 0x88 NEWFALSE = 0x89 LONG1 = 0x8a LONG4 = 0x8b SHORT_BINUNICODE = 0x8c
    BINUNICODE8 = 0x8d BINBYTES8 = 0x8e EMPTY_SET = 0x8f ADDITEMS = 0x90 FROZENSET = 0x91 NEWOBJ_EX = 0x92
    STACK_GLOBAL = 0x93 MEMOIZE = 0x94 FRAME = 0x95 BYTEARRAY8 = 0x96
}

/// Result of one step. The error says what is wrong; `run` adds which opcode it was and where.
type Step<T> = Result<T, String>;

impl<'a> Pickle<'a> {
    /// Reads the pickle that starts at `bytes[start]`.
    ///
    /// # Errors
    /// An opcode that is unknown, contradicts the stack or reaches beyond the input, more than [`MAX_OPCODES`], and
    /// memory beyond the budget.
    pub fn read(bytes: &'a [u8], start: usize) -> Result<Self, PickleError> {
        let (nodes, claim) = (vec![], Claim::default());
        Machine {
            bytes,
            at: start,
            nodes,
            stack: vec![],
            marks: vec![],
            memo: HashMap::new(),
            objects: 0,
            claim,
        }
        .run()
    }
}

/// Opcodes between two looks at how much memory they took.
const WATCHED: usize = 1 << 12;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Value<'a>>,
    /// Stack heights at the open marks; nothing below the last one can be popped.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    /// The number of calls among the nodes.
    objects: usize,
    /// What all this takes of the budget.
    claim: Claim,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Pickle<'a>, PickleError> {
        let mut claimed = 0;
        for done in 0..MAX_OPCODES {
            let offset = self.at;
            let fail = |opcode, what| PickleError { offset, opcode, what };
            if done % WATCHED == WATCHED - 1 {
                let takes = self.takes(done);
                let grown = self.claim.grow(takes.saturating_sub(claimed));
                grown.map_err(|refused| fail("limit".into(), refused.to_string()))?;
                claimed = takes.max(claimed);
            }
            let opcode = self.u8().map_err(|what| fail("(none)".into(), what))?;
            if opcode == STOP {
                let root = self.pop().map_err(|what| fail("STOP".into(), what))?;
                return Ok(Pickle { nodes: self.nodes, root, end: self.at, _claim: self.claim });
            }
            self.step(opcode).map_err(|what| fail(opcode_name(opcode), what))?;
        }
        let what = format!("more than {MAX_OPCODES} opcodes");
        Err(PickleError { offset: self.at, opcode: "limit".into(), what })
    }

    /// Bytes of memory that are taken after so many opcodes. Each pushes one value at most, which may be in a container by
    /// now, and a list that grows holds room for twice its values.
    fn takes(&self, opcodes: usize) -> u64 {
        let values = 2 * (opcodes + self.memo.capacity()) * size_of::<Value>();
        let nodes = 2 * self.nodes.len() * size_of::<Node>() + self.objects * size_of::<Object>();
        (values + nodes) as u64
    }

    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            PROTO => match self.u8()? {
                0..=5 => {}
                newer => return Err(format!("protocol {newer} is newer than 5")),
            },
            FRAME => _ = self.length8()?,
            MARK => self.marks.push(self.stack.len()),
            POP if self.stack.len() == self.floor() => _ = self.marks.pop().ok_or("the stack is empty")?,
            POP => _ = self.pop()?,
            POP_MARK => _ = self.pop_mark()?,
            DUP => self.stack.push(self.top()?),
            PUT => self.line_number().and_then(|index| self.put(index))?,
            BINPUT => self.u8().and_then(|index| self.put(index.into()))?,
            LONG_BINPUT => self.u32().and_then(|index| self.put(index))?,
            MEMOIZE => self.put(self.memo.len() as u32)?,
            APPEND => self.pop().and_then(|item| self.append(vec![item]))?,
            APPENDS => self.pop_mark().and_then(|items| self.append(items))?,
            ADDITEMS => self.pop_mark().and_then(|items| self.append(items))?,
            SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            SETITEMS => self.pop_mark().and_then(|pairs| self.set(&pairs))?,
            BUILD => self.build()?,
            _ => {
                let value = self.value(opcode)?;
                self.stack.push(value);
            }
        }
        Ok(())
    }

    /// The opcodes that push one value.
    fn value(&mut self, opcode: u8) -> Step<Value<'a>> {
        Ok(match opcode {
            NONE => Value::None,
            NEWTRUE => Value::Bool(true),
            NEWFALSE => Value::Bool(false),
            BININT => Value::Int(i32::from_le_bytes(self.array()?).into()),
            BININT1 => Value::Int(self.u8()?.into()),
            BININT2 => Value::Int(u16::from_le_bytes(self.array()?).into()),
            LONG1 => self.u8().and_then(|n| self.take(n.into())).map(integer)?,
            LONG4 => self.length4().and_then(|n| self.take(n)).map(integer)?,
            BINFLOAT => Value::Float(f64::from_be_bytes(self.array()?)),
            INT | LONG => self.integer_line()?,
            FLOAT => Value::Float(self.line()?.parse().map_err(|_| "not a number")?),
            STRING => Value::Str(unquote(self.line()?)?),
            UNICODE => Value::Str(unescaped(self.line()?)?),
            SHORT_BINUNICODE => self.u8().and_then(|n| self.text(n.into()))?,
            BINUNICODE => self.length4().and_then(|n| self.text(n))?,
            BINUNICODE8 => self.length8().and_then(|n| self.text(n))?,
            SHORT_BINBYTES | SHORT_BINSTRING => {
                self.u8().and_then(|n| self.take(n.into())).map(Value::Bytes)?
            }
            BINBYTES | BINSTRING => self.length4().and_then(|n| self.take(n)).map(Value::Bytes)?,
            BINBYTES8 | BYTEARRAY8 => self.length8().and_then(|n| self.take(n)).map(Value::Bytes)?,
            GET => self.line_number().and_then(|index| self.get(index))?,
            BINGET => self.u8().and_then(|index| self.get(index.into()))?,
            LONG_BINGET => self.u32().and_then(|index| self.get(index))?,
            _ => {
                let node = self.container(opcode)?;
                self.push_node(node)
            }
        })
    }

    /// The opcodes that push a new container.
    fn container(&mut self, opcode: u8) -> Step<Node<'a>> {
        Ok(match opcode {
            EMPTY_TUPLE => Node::Tuple(vec![]),
            EMPTY_LIST => Node::List(vec![]),
            EMPTY_SET => Node::Set(vec![]),
            EMPTY_DICT => Node::Dict(vec![]),
            TUPLE => Node::Tuple(self.pop_mark()?),
            LIST => Node::List(self.pop_mark()?),
            FROZENSET => Node::Set(self.pop_mark()?),
            DICT => Node::Dict(pair_up(&self.pop_mark()?)?),
            TUPLE1 => Node::Tuple(self.pop_last(1)?),
            TUPLE2 => Node::Tuple(self.pop_last(2)?),
            TUPLE3 => Node::Tuple(self.pop_last(3)?),
            PERSID => Node::Persistent(Value::Str(self.line()?)),
            BINPERSID => Node::Persistent(self.pop()?),
            GLOBAL => Node::Global { module: self.line()?, name: self.line()? },
            STACK_GLOBAL => {
                let (name, module) = (self.pop()?.text(), self.pop()?.text());
                let (Some(module), Some(name)) = (module, name) else {
                    return Err("names must be text".into());
                };
                Node::Global { module, name }
            }
            REDUCE | NEWOBJ => {
                let (args, class) = (self.pop()?, self.pop()?);
                object(class, args)
            }
            NEWOBJ_EX => {
                let (_keywords, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                object(class, args)
            }
            INST => {
                let class = Node::Global { module: self.line()?, name: self.line()? };
                let (class, args) = (self.push_node(class), Node::Tuple(self.pop_mark()?));
                object(class, self.push_node(args))
            }
            OBJ => {
                let mut args = self.pop_mark()?;
                if args.is_empty() {
                    return Err("no class on the stack".into());
                }
                let class = args.remove(0);
                object(class, self.push_node(Node::Tuple(args)))
            }
            _ => return Err("unknown, or for data outside the file".into()),
        })
    }

    fn push_node(&mut self, node: Node<'a>) -> Value<'a> {
        self.objects += usize::from(matches!(node, Node::Object(_)));
        self.nodes.push(node);
        // The number of nodes is at most twice MAX_OPCODES, far below 2^32.
        Value::Node(NodeId(self.nodes.len() as u32 - 1))
    }

    fn append(&mut self, mut new: Vec<Value<'a>>) -> Step<()> {
        match self.top_node()? {
            Node::List(items) | Node::Set(items) => items.append(&mut new),
            Node::Object(object) => object.items.append(&mut new),
            _ => return Err("the target takes no items".into()),
        }
        Ok(())
    }

    fn set(&mut self, flat: &[Value<'a>]) -> Step<()> {
        let mut new = pair_up(flat)?;
        match self.top_node()? {
            Node::Dict(pairs) => pairs.append(&mut new),
            Node::Object(object) => object.pairs.append(&mut new),
            _ => return Err("the target takes no keys".into()),
        }
        Ok(())
    }

    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        match self.top_node()? {
            Node::Object(object) => object.state = Some(state),
            _ => return Err("the target is no object".into()),
        }
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Value<'a>> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn top(&self) -> Step<Value<'a>> {
        self.stack[self.floor()..].last().copied().ok_or_else(|| "the stack is empty".into())
    }

    fn top_node(&mut self) -> Step<&mut Node<'a>> {
        match self.top()? {
            Value::Node(id) => Ok(&mut self.nodes[id.0 as usize]),
            _ => Err("the target is no container".into()),
        }
    }

    fn pop_mark(&mut self) -> Step<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_last(&mut self, n: usize) -> Step<Vec<Value<'a>>> {
        let from = self.stack.len().checked_sub(n).filter(|&from| from >= self.floor());
        Ok(self.stack.split_off(from.ok_or("too few values on the stack")?))
    }

    fn put(&mut self, index: u32) -> Step<()> {
        let value = self.top()?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn get(&self, index: u32) -> Step<Value<'a>> {
        self.memo.get(&index).copied().ok_or_else(|| format!("nothing remembered as {index}"))
    }

    fn take(&mut self, n: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("{n} bytes wanted, the data ends before"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Step<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Step<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn length4(&mut self) -> Step<usize> {
        self.u32().map(|n| n as usize)
    }

    fn length8(&mut self) -> Step<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| "length out of range".into())
    }

    fn text(&mut self, n: usize) -> Step<Value<'a>> {
        utf8(self.take(n)?).map(Value::Str)
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let n = rest.iter().position(|&b| b == b'\n').ok_or("a line without an end")?;
        self.at += n + 1;
        utf8(&rest[..n])
    }

    fn line_number(&mut self) -> Step<u32> {
        self.line()?.parse().map_err(|_| "not a number".into())
    }

    /// An integer as text: `INT` writes bools as 00 and 01, `LONG` ends in L.
    fn integer_line(&mut self) -> Step<Value<'a>> {
        match self.line()? {
            "00" => Ok(Value::Bool(false)),
            "01" => Ok(Value::Bool(true)),
            text => match text.trim_end_matches('L').parse() {
                Ok(value) => Ok(Value::Int(value)),
                Err(_) => Err("not a 64-bit integer".into()),
            },
        }
    }
}

fn object<'a>(class: Value<'a>, args: Value<'a>) -> Node<'a> {
    Node::Object(Box::new(Object { class, args, state: None, items: vec![], pairs: vec![] }))
}

fn pair_up<'a>(flat: &[Value<'a>]) -> Step<Vec<(Value<'a>, Value<'a>)>> {
    let (pairs, rest) = flat.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a key without a value".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// An integer from little-endian two's complement of any length.
fn integer(bytes: &[u8]) -> Value<'_> {
    if bytes.len() > 8 {
        return Value::Long(bytes);
    }
    let negative = bytes.last().is_some_and(|&high| high >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(wide))
}

fn utf8(bytes: &[u8]) -> Step<&str> {
    std::str::from_utf8(bytes).map_err(|_| "text is not UTF-8".into())
}

fn unquote(line: &str) -> Step<&str> {
    let inner = ['\'', '"'].iter().find_map(|&q| line.strip_prefix(q)?.strip_suffix(q));
    unescaped(inner.ok_or("text without quotes")?)
}

/// Refuses escapes, because text is borrowed from the file. Only protocol 0 has them, which torch does not write.
fn unescaped(text: &str) -> Step<&str> {
    if text.contains('\\') { Err("escaped text is not supported".into()) } else { Ok(text) }
}
