#![doc = include_str!("README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// The groups go from the bottom up: a module imports from its own group and from those before it, never in a circle.

// What a program is made of.
mod extended;
mod isa;
mod lanes;
mod operands;
mod types;

// Results: faults and counts.
mod fault;
mod meter;

// From text to a program.
mod flow;
mod layout;
mod lexer;
mod lower;
mod module;
mod parse;
mod program;
mod steps;
mod syntax;
mod tally;

// Arithmetic on registers.
mod alu;
mod approx;
mod convert;
mod float;
mod integer;
mod matrix;
mod registers;

// Memory, and notes of who accessed it.
mod mbarrier;
mod memory;
mod shadow;
mod shared;
mod tensor_map;

// Running: a launch, its blocks, their warps.
mod access;
mod args;
mod block;
mod block_state;
mod dispatch;
mod env;
mod exec;
mod launch;
mod run;
mod together;
mod warp;

pub use args::{Access, Arg, Launch};
pub use fault::{Fault, FaultKind, Location, ParseError};
pub use layout::Param;
pub use memory::{Machine, Options};
pub use meter::{AccessKind, Class, Count, Line, Meter, Traffic};
pub use module::{Entry, Module};
pub use tensor_map::{Swizzle, TensorMap};
pub use types::Space;
