//! The axes of a chart with their grid and labels.

use super::style::{GAP, GRID, LINE, MARGIN, SOFT, WHITE};
use crate::report::canvas::{Canvas, TEXT_HEIGHT, shortened, text_width};

/// The rectangle between the axes, in pixels.
pub struct Frame {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

impl Frame {
    /// Pixels below the axes for labels, for what they mean, and for the margin.
    pub const BELOW: u32 = 2 * LINE + MARGIN;

    /// The row of the horizontal axis.
    pub fn bottom(&self) -> u32 {
        self.top + self.height
    }

    /// Draws both axes, left of and below the rectangle.
    pub fn draw_axes(&self, canvas: &mut Canvas) {
        canvas.fill(self.left - 1, self.top, 1, self.height, SOFT);
        canvas.fill(self.left - 1, self.bottom(), self.width + 2, 1, SOFT);
    }

    /// Draws a line of the grid across, its label left of it.
    pub fn draw_row(&self, canvas: &mut Canvas, row: u32, label: &str) {
        canvas.fill(self.left, row, self.width, 1, GRID);
        let left = self.left.saturating_sub(text_width(label) + GAP);
        canvas.text(left, row.saturating_sub(TEXT_HEIGHT / 2), label, SOFT);
    }

    /// Draws a line of the grid down, its label below it.
    pub fn draw_column(&self, canvas: &mut Canvas, column: u32, label: &str) {
        canvas.fill(column, self.top, 1, self.height, GRID);
        centred(canvas, (column, self.bottom() + GAP + TEXT_HEIGHT / 2), label);
    }

    /// Writes below the labels of the columns what they mean.
    pub fn name_columns(&self, canvas: &mut Canvas, name: &str) {
        let middle = (self.left + self.width / 2, self.bottom() + GAP + LINE + TEXT_HEIGHT / 2);
        centred(canvas, middle, &shortened(name, self.width));
    }

    /// Writes in the middle why there is nothing to see.
    pub fn draw_empty(&self, canvas: &mut Canvas, why: &str) {
        centred(canvas, (self.left + self.width / 2, self.top + self.height / 2), why);
    }
}

/// Writes text around a pixel; no line of the grid runs through it.
fn centred(canvas: &mut Canvas, (x, y): (u32, u32), text: &str) {
    let width = text_width(text);
    let (left, top) = (x.saturating_sub(width / 2), y - TEXT_HEIGHT / 2);
    canvas.fill(left.saturating_sub(3), top - 3, width + 6, TEXT_HEIGHT + 8, WHITE);
    canvas.text(left, top, text, SOFT);
}
