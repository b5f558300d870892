//! The values that a pickle holds, and how to find one's way among them.

use engine::budget::Claim;

/// A value; containers are [`Node`]s, found through [`Pickle::node`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Python's `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 64 bits.
    Int(i64),
    /// An integer beyond 64 bits: little-endian two's complement.
    Long(&'a [u8]),
    /// A float.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// Bytes, or an 8-bit string of Python 2.
    Bytes(&'a [u8]),
    /// A container or an object.
    Node(NodeId),
}

/// Number of a container in its [`Pickle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(pub(super) u32);

/// A value that holds others.
#[derive(Debug)]
pub enum Node<'a> {
    /// A tuple.
    Tuple(Vec<Value<'a>>),
    /// A list.
    List(Vec<Value<'a>>),
    /// A set or frozen set.
    Set(Vec<Value<'a>>),
    /// Keys and values in the order of the file; a key that comes again replaces the earlier one.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// A class or function, by name.
    Global {
        /// The module that it is imported from.
        module: &'a str,
        /// Its name in the module.
        name: &'a str,
    },
    /// What the file keeps outside the pickle, such as a tensor's storage.
    Persistent(Value<'a>),
    /// A call that was not made.
    Object(Box<Object<'a>>),
}

/// A call that was not made: `class(*args)`, and what the file would have filled in afterwards.
#[derive(Debug)]
pub struct Object<'a> {
    /// The class or function, a [`Node::Global`].
    pub class: Value<'a>,
    /// Its arguments, a tuple.
    pub args: Value<'a>,
    /// What the file would have passed to `__setstate__`.
    pub state: Option<Value<'a>>,
    /// What the file would have appended.
    pub items: Vec<Value<'a>>,
    /// What the file would have set by key.
    pub pairs: Vec<(Value<'a>, Value<'a>)>,
}

/// A finished pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) root: Value<'a>,
    pub(super) end: usize,
    /// What the values take of the budget.
    pub(super) _claim: Claim,
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
    /// The value that was pickled.
    pub fn root(&self) -> Value<'a> {
        self.root
    }

    /// Position of the first byte behind the pickle.
    pub fn end(&self) -> usize {
        self.end
    }

    /// All containers, in the order in which the file builds them.
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
