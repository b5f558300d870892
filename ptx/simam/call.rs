//! The sizes of a call of SimAM.

use engine::shape::axes;
use engine::{Error, Result};

pub(super) const OP: &str = "simam";

/// The pixels of a channel of `x [b c h w]`, once the shape is right.
pub(super) fn check(x: &[usize]) -> Result<usize> {
    let [_, _, h, w] = axes(OP, "x", "[b c h w]", x)?;
    if h * w < 2 {
        let what = format!("an image of {h} x {w} pixels has no variance");
        return Err(Error::Unsupported { op: OP, what });
    }
    Ok(h * w)
}
