//! What a run shows and leaves behind: its folder, its metrics, its pictures, its progress.
//!
//! - [`RunDir`]: the folder of one run, locked against a second run, and the names of the files in it
//! - [`metrics`]: `metrics.jsonl`, one record a line, continued exactly on resume
//! - [`EventWriter`]: the same numbers for TensorBoard
//! - [`curves`]: loss and accuracy curves as a PNG
//! - [`heat_maps`]: maps over pictures, as a PNG
//! - [`chart`]: the results of a sweep as bars or lines, as a PNG
//! - [`html`]: a run as one page for the browser
//! - [`table`]: aligned tables, and counts, sizes and times as text
//! - [`Progress`]: the bar on a terminal, plain lines elsewhere

mod canvas;
pub mod chart;
mod font;
pub mod heat_map;
pub mod html;
pub mod metrics;
mod plot;
mod progress;
mod run_dir;
pub mod table;
mod tensorboard;

pub use heat_map::heat_maps;
pub use metrics::{MetricsWriter, Record, read_metrics};
pub use plot::curves;
pub use progress::{Progress, Show, StepInfo};
pub use run_dir::{RunDir, default_name};
pub use table::Table;
pub use tensorboard::EventWriter;

/// A picture as a PNG file.
fn png(picture: &image::RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).expect("writing to memory does not fail");
    bytes.into_inner()
}
