//! Tensors, devices, GEMM, threads and counter-based random numbers. Knows no op and no model.

pub mod error;
pub mod rng;

pub use error::{Error, Result};
pub use rng::Rng;
