//! What a run shows and leaves behind: its folder, its metrics, its pictures, its progress.
//!
//! - [`RunDir`]: the folder of one run, locked against a second run, and the names of the files in it
//! - [`metrics`]: `metrics.jsonl`, one record a line, continued exactly on resume
//! - [`EventWriter`]: the same numbers for TensorBoard
//! - [`curves`]: loss and accuracy curves as a PNG
//! - [`table`]: aligned tables, and counts, sizes and times as text
//! - [`Progress`]: the bar on a terminal, plain lines elsewhere

mod canvas;
mod font;
pub mod metrics;
mod plot;
mod progress;
mod run_dir;
pub mod table;
mod tensorboard;

pub use metrics::{MetricsWriter, Record, read_metrics};
pub use plot::curves;
pub use progress::{Progress, Show, StepInfo};
pub use run_dir::{RunDir, default_name};
pub use table::Table;
pub use tensorboard::EventWriter;
