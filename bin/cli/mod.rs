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
mod run;
mod stop;
mod using;
pub mod values;

pub use compute::Compute;
pub use image::{Preparation, images_at};
pub use measure::{Images, Measure, Split, workers};
pub use options::Options;
pub use output::{check_place, complain, exit, json_line, print, show, tell, whole};
pub use run::{Run, one_run};
pub use stop::{end_on_signals, stop_on_signals, stopped};
pub use using::Using;
