//! The tape: it records functions in the order of their execution with what each saved, and walks them backwards once.
//! Knows no op.
//!
//! ```
//! use autograd::{Function, Sinks, Tape, Var};
//! use engine::{Device, Result, Tensor};
//!
//! /// y = x^2
//! struct Square(Tensor);
//! impl Function for Square {
//!     fn backward(&self, grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
//!         let dy = grads[0].as_ref().expect("the only output");
//!         let dx = self.0.as_slice().iter().zip(dy.as_slice()).map(|(x, dy)| 2.0 * x * dy).collect();
//!         sinks.give(0, Tensor::from_vec(dx, self.0.shape()));
//!         Ok(())
//!     }
//! }
//!
//! let tape = Tape::new(&Device::cpu());
//! let x = tape.leaf(Tensor::from_vec(vec![3.0], &[1]));
//! let y = Tensor::from_vec(vec![x.value().as_slice()[0].powi(2)], &[1]);
//! let y = tape.record("square", &[&x], vec![y], || Box::new(Square(x.value().clone())))?.remove(0);
//! let mut grads = tape.backward(&y, Tensor::from_vec(vec![1.0], &[1]))?;
//! assert_eq!(grads.take(&x).unwrap().as_slice(), [6.0]);
//! # Ok::<(), engine::Error>(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod noted;
mod saved;
mod sinks;
mod tape;
mod trace;

pub use noted::{Noted, noted};
pub use saved::{Recipe, Saved};
pub use sinks::{Sink, Sinks};
pub use tape::{Function, Gradients, Tape, Var};
pub use trace::{Settings, Trace, Traced, Value};
