//! Writes ONNX models, opset 17: a graph that is built value by value, and its bytes. Knows nothing of what it is for.
//!
//! ```
//! use onnx::{Graph, Model, Size};
//!
//! let mut graph = Graph::new("double");
//! let x = graph.input("x", &[Size::Any("N"), Size::Of(3)]);
//! let two = graph.floats(&[], vec![2.0]);
//! let y = graph.mul(&x, &two);
//! graph.output("y", &y, &[Size::Any("N"), Size::Of(3)]);
//! let model = Model { graph: &graph, producer: ["me", "1.0"], metadata: &[("about", "an example".into())] };
//! assert!(!model.bytes().is_empty());
//! ```
//!
//! Sources: `onnx.proto` of IR version 8 for the messages and their field numbers, and the operator schemas of opset 17.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod expressions;
mod graph;
mod wire;
mod write;

pub use graph::{Attribute, Graph, Name, Size};
pub use write::{LIMIT, Model, OPSET};
