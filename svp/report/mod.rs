//! What a run shows and leaves behind: its folder, its metrics, its charts, its progress.
//!
//! - [`RunDir`]: the folder of one run, locked against a second run, and the names of the files in it
//! - [`metrics`]: `metrics.jsonl`, one record a line, which a resumed run continues exactly
//! - [`EventWriter`]: the same numbers for TensorBoard
//! - [`chart`]: curves of a run, bars and lines of a sweep, heat maps over pictures, as PNG files
//! - [`html`]: a run as one page for the browser
//! - [`NpyWriter`]: arrays for NumPy, which grow row by row
//! - [`table`]: aligned tables, and counts, sizes and times as text
//! - [`Progress`]: a bar on a terminal, plain lines elsewhere; [`Counter`]: a bar for long work that is not training

mod canvas;
pub mod chart;
mod encode;
pub mod html;
mod lr_range;
pub mod metrics;
mod npy;
mod progress;
mod run_dir;
pub mod table;
mod tensorboard;

pub use chart::curves;
pub use lr_range::LrRange;
pub use metrics::{MetricsWriter, Record, read_metrics};
pub use npy::NpyWriter;
pub use progress::{Counter, Progress, Show, StepInfo};
pub(crate) use run_dir::read_file;
pub use run_dir::{Place, RunDir};
pub use table::Table;
pub use tensorboard::EventWriter;
