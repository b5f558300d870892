//! The sizes of one call.

use autograd::Var;
use engine::shape::{axes, check_shape};
use engine::{Error, Result};

pub(super) const OP: &str = "batch_norm";

/// Added to the variance.
pub(super) const EPS: f32 = 1e-6;

/// Rows and channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    pub d: usize,
}

/// The sizes of a call whose shapes are right. Without given moments, the rows must have a variance.
pub(super) fn check(x: &Var, given: Option<[&Var; 2]>) -> Result<Dims> {
    let [b, d] = axes(OP, "x", "[b d]", x.shape())?;
    match given {
        Some(moments) => {
            for (name, moment) in ["mean", "variance"].into_iter().zip(moments) {
                check_shape(OP, name, "[d]", &[d], moment.shape())?;
            }
        }
        None if b < 2 => {
            let what = format!("the variance over a batch of {b}: at least 2 images a batch in training");
            return Err(Error::Unsupported { op: OP, what });
        }
        None => {}
    }
    Ok(Dims { b, d })
}
