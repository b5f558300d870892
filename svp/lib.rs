//! Vision Mamba, prompting methods, data, training loop, checkpoints, reports.

pub mod checkpoint;
pub mod data;
pub mod error;
pub mod model;
pub mod report;
pub mod settings;
pub mod sweep;
pub mod train;

pub use error::{Error, Result};
