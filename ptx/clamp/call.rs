//! The bounds of a call.

use engine::{Error, Result};

pub(super) const OP: &str = "clamp";

pub(super) fn check(low: f32, high: f32) -> Result<()> {
    if low <= high {
        return Ok(());
    }
    Err(Error::Unsupported { op: OP, what: format!("no value is at least {low} and at most {high}") })
}
