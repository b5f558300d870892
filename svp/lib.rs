//! Vision Mamba, prompting methods, training loop, checkpoints and reports. The data sets are in the crate [`data`].

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod model;
pub mod report;
pub mod sweep;
pub mod train;

pub use data::{self, Error, Result};
