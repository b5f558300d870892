//! A pickle reader that only reads.
//!
//! A pickle is a program for a stack machine that builds values and may call any function it names. Here it
//! builds values and calls nothing: a call (`REDUCE`, `NEWOBJ`, ...) is recorded as an [`Object`] with the
//! name of its class and its arguments, and who asked for the file decides what the name means.
//!
//! Values live in one arena and refer to each other by number, so shared and even cyclic values cost
//! nothing, and no nesting, however deep, recurses. Text and bytes are borrowed from the input. Memory is
//! bounded by a small multiple of the input and by [`MAX_OPCODES`].
//!
//! Source: the opcode descriptions of Python's `pickletools` (protocols 0 to 5).

mod machine;
#[cfg(test)]
mod tests;

/// More opcodes than this are refused; a released Vim checkpoint has about 20,000, CIFAR-100 about 300,000.
pub const MAX_OPCODES: usize = 1 << 22;

/// A value; containers are [`Node`]s, found through [`Pickle::node`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits: little-endian two's complement.
    Long(&'a [u8]),
    Float(f64),
    Str(&'a str),
    /// Bytes, or an 8-bit string of Python 2.
    Bytes(&'a [u8]),
    Node(NodeId),
}

/// Number of a container in its [`Pickle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(u32);

/// A value that holds others.
#[derive(Debug)]
pub enum Node<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Set(Vec<Value<'a>>),
    /// In the order of the file; a key that comes again replaces the earlier one.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// A class or function, by name.
    Global {
        module: &'a str,
        name: &'a str,
    },
    /// What the file keeps outside the pickle, such as a tensor's storage.
    Persistent(Value<'a>),
    Object(Box<Object<'a>>),
}

/// A call that was not made: `class(*args)`, then what the file would have filled in.
#[derive(Debug)]
pub struct Object<'a> {
    pub class: Value<'a>,
    pub args: Value<'a>,
    pub state: Option<Value<'a>>,
    pub items: Vec<Value<'a>>,
    pub pairs: Vec<(Value<'a>, Value<'a>)>,
}

/// A finished pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Value<'a>,
    end: usize,
}

/// Where and why reading stopped.
#[derive(Debug, thiserror::Error)]
#[error("pickle opcode {opcode} at byte {offset}: {what}")]
pub struct PickleError {
    /// Position of the opcode in the bytes handed in.
    pub offset: usize,
    /// Its name, or its value where it has none.
    pub opcode: String,
    pub what: String,
}

impl<'a> Value<'a> {
    /// Text, also where Python 2 wrote it as an 8-bit string.
    pub fn text(self) -> Option<&'a str> {
        match self {
            Value::Str(text) => Some(text),
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A count, size or offset.
    pub fn size(self) -> Option<usize> {
        match self {
            Value::Int(i) => usize::try_from(i).ok(),
            _ => None,
        }
    }
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that starts at `bytes[start]`.
    pub fn read(bytes: &'a [u8], start: usize) -> Result<Self, PickleError> {
        machine::run(bytes, start)
    }

    /// The value that was pickled.
    pub fn root(&self) -> Value<'a> {
        self.root
    }

    /// Position just behind the pickle.
    pub fn end(&self) -> usize {
        self.end
    }

    /// All containers, in the order the file builds them.
    pub fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    /// The container that `value` refers to.
    pub fn node(&self, value: Value<'a>) -> Option<&Node<'a>> {
        match value {
            Value::Node(id) => Some(&self.nodes[id.0 as usize]),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub fn items(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.node(value)? {
            Node::Tuple(items) | Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// Module and name of a class or function.
    pub fn global(&self, value: Value<'a>) -> Option<(&'a str, &'a str)> {
        match self.node(value)? {
            Node::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// The object that `value` refers to, with module and name of its class.
    pub fn object(&self, value: Value<'a>) -> Option<(&'a str, &'a str, &Object<'a>)> {
        match self.node(value)? {
            Node::Object(object) => self.global(object.class).map(|(module, name)| (module, name, &**object)),
            _ => None,
        }
    }

    /// The pairs of a dict or `collections.OrderedDict`.
    pub fn pairs(&self, value: Value<'a>) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        if let Some(Node::Dict(pairs)) = self.node(value) {
            return Some(pairs.clone());
        }
        let ("collections", "OrderedDict", object) = self.object(value)? else { return None };
        // Python 2 hands the pairs over as an argument, Python 3 sets them one by one.
        let args = self.items(object.args)?.first().and_then(|&first| self.items(first)).unwrap_or(&[]);
        let args = args.iter().filter_map(|&pair| match self.items(pair)? {
            &[key, value] => Some((key, value)),
            _ => None,
        });
        Some(args.chain(object.pairs.iter().copied()).collect())
    }

    /// What a dict holds under a text key.
    pub fn get(&self, dict: Value<'a>, key: &str) -> Option<Value<'a>> {
        self.pairs(dict)?.iter().rev().find(|(k, _)| k.text() == Some(key)).map(|&(_, value)| value)
    }
}
