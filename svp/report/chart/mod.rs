//! Charts as PNG files: the [`curves`] of a run, the results of a sweep as [`bars()`] or [`lines()`], and
//! [`heat_maps`] over pictures.
//!
//! All of them draw on one canvas and share colours, axes and headings. [`Panel`] and [`Axis`] also serve the page of
//! a run, whose charts are SVG so that they follow the reader's theme.

mod axis;
mod bars;
mod curves;
mod frame;
mod heading;
pub mod heat_map;
mod lines;
mod mark;
mod panel;
mod style;
#[cfg(test)]
mod tests;

pub(super) use axis::Axis;
pub use bars::{Bars, bars};
pub use curves::curves;
pub use heat_map::heat_maps;
pub use lines::{Lines, lines};
pub use mark::Mark;
pub(super) use panel::{Panel, Series, range_panel, rate_panel, run_panels};
