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
mod checks;
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
mod carry;
mod convert;
mod double;
mod float;
mod half_float;
mod integer;
mod matrix;
mod registers;
mod small;
mod video;
mod words;

// Memory, and notes of who accessed it.
mod clock;
mod format;
mod heap;
mod known;
mod memory;
mod output;
mod releases;
mod shadow;
mod shared;

// Running: a launch, its blocks, their warps.
mod access;
mod args;
mod block;
mod block_state;
mod calls;
mod dispatch;
mod divergence;
mod env;
mod exec;
mod frames;
mod launch;
mod order;
mod progress;
mod queue;
mod run;
mod suspicion;
mod system;
mod together;
mod warp;

// What makes launches short to write.
mod call;
mod slices;
mod symbol;

pub use args::{Access, Arg, Launch};
pub use call::{Call, Size};
pub use checks::Checks;
pub use fault::{Fault, FaultKind, Location, ParseError};
pub use layout::{Global, Param};
pub use memory::{Machine, Options};
pub use meter::{AccessKind, Class, Count, Line, Meter, Traffic};
pub use module::{Entry, Module};
pub use slices::Slice;
pub use symbol::Symbol;
pub use types::Space;
