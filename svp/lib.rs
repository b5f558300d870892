//! Vision Mamba, prompting methods, data, training loop, checkpoints, reports.

pub mod data;
pub mod error;

pub use error::{Error, Result};
