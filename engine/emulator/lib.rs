#![doc = include_str!("README.md")]
#![forbid(unsafe_code)]

mod access;
mod alu;
mod approx;
mod atomics;
mod block;
mod convert;
mod exec;
mod fault;
mod float;
mod flow;
mod global_access;
mod integer;
mod isa;
mod launch;
mod lexer;
mod lower;
mod memory;
mod meter;
mod module;
mod parse;
mod program;
mod registers;
mod shadow;
mod shared;
mod shared_access;
mod syntax;
mod together;
mod types;
mod warp;

pub use fault::{Fault, FaultKind, ParseError, Place};
pub use launch::{Access, Arg, Launch};
pub use memory::{Machine, Options};
pub use meter::{AccessKind, Class, Count, Line, Meter, Traffic};
pub use module::{Entry, Module, Param};
pub use types::Space;
