//! What the commands share: how they compute, stop, print and fail, how they read images, and what a trained model is
//! measured on.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod compute;
mod image;
mod measure;
pub mod method_flags;
pub mod options;
mod output;
mod stop;
mod using;
pub mod values;

pub use compute::Compute;
pub use image::{Preparation, images_at};
pub use measure::{Images, Measure, Split};
pub use options::Options;
pub use output::{complain, exit, json_line, print, show, tell};
pub use stop::{stop_on_signals, stopped};
pub use using::Using;
