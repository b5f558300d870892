//! Sweeps: tables of runs over tasks, methods and seeds, with hyper-parameters chosen on validation.
//!
//! - [`Sweep`]: the file that says what to run; those of the paper's tables are [shipped](SHIPPED)
//! - [`Plan`]: its runs, each with a folder and resolved settings
//! - [`Results`]: what the finished runs found: chosen settings, mean and deviation over seeds
//! - [`csv`], [`runs_csv`], [`markdown`], [`chart`]: the results for readers

mod chart;
mod plan;
mod results;
mod spec;
mod table;
#[cfg(test)]
mod tests;

pub use chart::chart;
pub use plan::{Cell, Plan, Point, Run};
pub use results::{Failure, Found, Results, Stat, State, mark_diverged};
pub use spec::{Method, Published, SHIPPED, Shipped, Sweep, Task};
pub use table::{csv, markdown, runs_csv};
