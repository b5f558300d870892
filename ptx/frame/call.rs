//! The sizes of a call.

use autograd::Var;
use engine::shape::{axes, check_shape};
use engine::{Error, Result, Tensor};

use super::Sides;

pub(super) const OP: &str = "frame";

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    pub c: usize,
    /// Pixels of a side of an image, and width of a frame.
    pub s: usize,
    pub w: usize,
    /// Number of frames.
    pub frames: usize,
}

impl Dims {
    /// The shape of side `side`: up, down, left, right.
    pub fn side(self, side: usize) -> [usize; 4] {
        match side < 2 {
            true => [1, self.c, self.w, self.s],
            false => [1, self.c, self.s - 2 * self.w, self.w],
        }
    }

    /// Top left pixel of a side.
    pub fn corner(self, side: usize) -> [usize; 2] {
        let last = self.s - self.w;
        [[0, 0], [last, 0], [self.w, 0], [self.w, last]][side]
    }
}

pub(super) fn check(x: &Var, frames: &[Sides], assignment: Option<&Tensor>) -> Result<Dims> {
    let [b, c, s, _] = axes(OP, "images", "[b c s s]", x.shape())?;
    check_shape(OP, "images", "[b c s s]", &[b, c, s, s], x.shape())?;
    let Some([up, ..]) = frames.first() else {
        return Err(Error::Unsupported { op: OP, what: "there is no frame".into() });
    };
    let [_, _, w, _] = axes(OP, "a side", "[1 c w s]", up.shape())?;
    if 2 * w > s {
        let what = format!("a frame of {w} pixels does not fit images of {s} pixels");
        return Err(Error::Unsupported { op: OP, what });
    }
    let dims = Dims { b, c, s, w, frames: frames.len() };
    for (side, value) in frames.iter().flat_map(|frame| frame.iter().enumerate()) {
        let axes = if side < 2 { "[1 c w s]" } else { "[1 c s-2w w]" };
        check_shape(OP, "a side", axes, &dims.side(side), value.shape())?;
    }
    if let Some(assignment) = assignment {
        check_shape(OP, "assignment", "[b]", &[b], assignment.shape())?;
    }
    Ok(dims)
}
