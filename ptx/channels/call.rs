//! The sizes of one call.

use autograd::Var;
use engine::Result;
use engine::shape::check_shape;

pub(super) const OP: &str = "channels";

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const X: usize = 0;
    pub const CHANNELS: usize = 1;
    /// What is added; a call without it gathers.
    pub const ADDED: usize = 2;
}

/// Rows of `d` channels, of which `n` are chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub rows: usize,
    pub d: usize,
    pub n: usize,
}

/// The sizes of a call whose shapes are right.
pub(super) fn check(x: &Var, channels: &Var, added: Option<&Var>) -> Result<Dims> {
    let (d, n) = (x.shape().last().copied().unwrap_or(0), channels.value().numel());
    check_shape(OP, "channels", "[n]", &[n], channels.shape())?;
    if let Some(added) = added {
        check_shape(OP, "the addend", "[.. n]", &chosen(x.shape(), n), added.shape())?;
    }
    Ok(Dims { rows: x.value().numel() / d.max(1), d, n })
}

/// The shape of `n` channels of a tensor.
pub(super) fn chosen(x: &[usize], n: usize) -> Vec<usize> {
    let mut shape = x.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = n;
    }
    shape
}
