//! The filters, sizes and positions of a call of the convolution.

use autograd::Var;
use engine::shape::{axes3, check_shape};
use engine::{Error, Result};

pub(super) const OP: &str = "causal_conv1d";

/// Largest number of taps K of a filter.
pub const MAX_WIDTH: usize = 4;

/// The filter of one direction.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    /// `[e 1 K]`
    pub weight: &'a Var,
    /// `[e]`
    pub bias: &'a Var,
}

/// Positions of the inputs in a recorded call, by direction where both have one.
pub(super) mod at {
    pub const XZ: usize = 0;

    pub const fn weight(dir: usize) -> usize {
        1 + 2 * dir
    }

    pub const fn bias(dir: usize) -> usize {
        2 + 2 * dir
    }
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    pub l: usize,
    pub e: usize,
    /// Taps of a filter.
    pub k: usize,
}

pub(super) fn check(xz: &Var, filters: &[Filter; 2]) -> Result<Dims> {
    let [b, l, e2] = axes3(OP, "xz", "[b l 2e]", xz.shape())?;
    let e = e2 / 2;
    let k = filters[0].weight.shape().last().copied().unwrap_or(0);
    if !(2..=MAX_WIDTH).contains(&k) || e2 % 2 != 0 {
        let what = format!("kernel width {k} over {e2} columns: 2 to {MAX_WIDTH}, an even number of columns");
        return Err(Error::Unsupported { op: OP, what });
    }
    for filter in filters {
        check_shape(OP, "weight", "[e 1 K]", &[e, 1, k], filter.weight.shape())?;
        check_shape(OP, "bias", "[e]", &[e], filter.bias.shape())?;
    }
    Ok(Dims { b, l, e, k })
}
