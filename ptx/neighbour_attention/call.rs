//! The sizes of one call.

use autograd::Var;
use engine::shape::{axes3, check_shape};
use engine::{Error, Result};

use crate::launch::check_type;

pub(super) const OP: &str = "neighbour_attention";

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const QUERIES: usize = 0;
    pub const KEYS: usize = 1;
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    /// Rows of a sequence, `1 + grid^2`.
    pub l: usize,
    pub heads: usize,
    /// Channels of a head.
    pub c: usize,
    /// Patches on a side.
    pub grid: usize,
}

impl Dims {
    /// The sizes of a call whose shapes are right.
    pub fn new(queries: &Var, keys: &Var, heads: usize) -> Result<Self> {
        let [b, l, width] = axes3(OP, "queries", "[b l 3d]", queries.shape())?;
        check_shape(OP, "keys", "[b l 3d]", queries.shape(), keys.shape())?;
        check_type(OP, "keys", keys.value(), queries.value().dtype())?;
        if heads == 0 || width == 0 || !width.is_multiple_of(3 * heads) {
            let what = format!("{width} channels are no {heads} heads of queries, keys and values");
            return Err(Error::Unsupported { op: OP, what });
        }
        let grid = l.saturating_sub(1).isqrt();
        if l < 2 || 1 + grid * grid != l {
            let what = format!("{l} rows are no class token and a square of patches");
            return Err(Error::Unsupported { op: OP, what });
        }
        Ok(Dims { b, l, heads, c: width / 3 / heads, grid })
    }

    /// Channels of all heads.
    pub fn d(self) -> usize {
        self.heads * self.c
    }

    /// `1 / sqrt(c)`, the factor of a score.
    pub fn scale(self) -> f32 {
        1.0 / (self.c as f32).sqrt()
    }

    /// The rows that a query attends to, in rising order.
    #[inline(always)]
    pub fn neighbours(self, row: usize) -> impl Iterator<Item = usize> {
        let (grid, patch) = (self.grid, row.saturating_sub(1));
        let around = |at: usize| at.saturating_sub(1)..(at + 2).min(grid);
        // The class token attends to rows 0 to l - 1 of one line of that length.
        let (lines, columns, ld, first) = match row {
            0 => (0..1, 0..self.l, 0, 0),
            _ => (around(patch / grid), around(patch % grid), grid, 1),
        };
        lines.flat_map(move |line| columns.clone().map(move |column| first + line * ld + column))
    }
}
