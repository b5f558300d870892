//! What the commands share: how they are called, compute, stop, print and fail, how they read images, and what a
//! trained model is measured on.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

/// Makes a clear end of memory that the system does not have. Fuzz targets have an allocator of their own.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: engine::Telling = engine::Telling;

mod compute;
mod image;
mod measure;
pub mod method_flags;
pub mod options;
mod output;
mod panels;
mod parse;
mod run;
mod stop;
mod using;
pub mod values;

pub use compute::{Compute, start_threads};
pub use image::{Preparation, images_at};
pub use measure::{Images, Measure, Noise, Split, workers};
pub use options::Options;
pub use output::{check_place, complain, exit, json_line, print, show, tell, whole};
pub use panels::{Drawing, Drawn};
pub use parse::{parse, parse_as, parse_with_hint};
pub use run::{Run, one_run};
pub use stop::{Signals, end_on_signals, stop_on_signals, stopped, when_signalled};
pub use using::Using;
