//! Colours and distances that all charts share.

use crate::report::canvas::{Color, TEXT_HEIGHT};

pub const WHITE: Color = [255, 255, 255];
/// Of titles, names and numbers.
pub const INK: Color = [40, 40, 40];
/// Of axes and their labels.
pub const SOFT: Color = [105, 105, 105];
pub const GRID: Color = [228, 228, 228];

/// Pixels around everything, and from one thing to the next.
pub const MARGIN: u32 = 24;
pub const GAP: u32 = 10;
/// Pixels from one line of text to the next.
pub const LINE: u32 = TEXT_HEIGHT + 14;

/// Told apart with every common kind of colour blindness (Okabe and Ito, "Color Universal Design", 2008).
#[rustfmt::skip]
const COLORS: [Color; 8] = [
    [0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167],
    [230, 159, 0], [86, 180, 233], [0, 0, 0], [240, 228, 66],
];

/// The colour of a series; the ninth has that of the first again.
pub fn color(series: usize) -> Color {
    COLORS[series % COLORS.len()]
}
