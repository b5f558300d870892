//! The sizes of a call of a linear layer.

use autograd::Var;
use engine::Result;
use engine::shape::check_shape;

pub(super) const OP: &str = "linear";

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub rows: usize,
    /// Columns of x.
    pub width: usize,
    /// The first of the `k` columns that are read.
    pub first: usize,
    pub k: usize,
    pub n: usize,
}

pub(super) fn check(x: &Var, first: usize, w: &Var, bias: Option<&Var>) -> Result<Dims> {
    let width = x.shape().last().copied().unwrap_or(0);
    let [n, k] = w.shape()[..] else {
        return check_shape(OP, "w", "[n k]", &[0, width], w.shape()).map(|()| unreachable!());
    };
    if first + k > width {
        check_shape(OP, "x", "[.. width]", &[first + k], &[width])?;
    }
    if let Some(bias) = bias {
        check_shape(OP, "bias", "[n]", &[n], bias.shape())?;
    }
    Ok(Dims { rows: x.value().numel() / width.max(1), width, first, k, n })
}
