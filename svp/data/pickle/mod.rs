//! A pickle reader that only reads.
//!
//! A pickle is a program for a stack machine that builds values and may call any function it names. Here it
//! builds values and calls nothing: a call (`REDUCE`, `NEWOBJ`, ...) is recorded as an [`Object`] with the
//! name of its class and its arguments, and whoever asked for the file decides what the name means.
//!
//! Values live in one arena and refer to each other by number, so that shared and even cyclic values cost
//! nothing, and no nesting, however deep, recurses. Text and bytes are borrowed from the input. Memory is
//! bounded by a small multiple of the input and by [`MAX_OPCODES`].
//!
//! Source: the opcode descriptions of Python's `pickletools` (protocols 0 to 5).

mod machine;
#[cfg(test)]
mod tests;
mod value;

pub use machine::{MAX_OPCODES, PickleError};
pub use value::{Node, NodeId, Object, Pickle, Value};
