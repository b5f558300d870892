//! Sweeps: tables of runs over tasks, methods and seeds, with hyper-parameters chosen on validation.
//!
//! - [`Sweep`]: the file that says what to run; those of the paper's tables are [shipped](SHIPPED)
//! - [`Plan`]: its runs, each with a folder and completed settings
//! - [`Results`]: what the finished runs have found: chosen hyper-parameters, mean and deviation over seeds
//! - [`published`]: the tables of the paper, whose numbers stand beside the results
//! - [`csv`], [`runs_csv`], [`json`], [`markdown`], [`chart()`]: the results as files
//! - [`noise_csv`], [`noise_chart`]: what was found with noise on the test images

mod chart;
mod noise;
mod plan;
pub mod published;
mod results;
mod spec;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use chart::chart;
pub use noise::{noise_chart, noise_csv};
pub use plan::{Cell, Plan, Point, Run};
pub use results::{Accuracy, CellResult, Failure, Results, RunStatus, mark_diverged};
pub use spec::{Method, Published, SHIPPED, Shipped, Sweep, Task};
pub use table::{csv, json, markdown, runs_csv};
