//! What one call gets: its norm, its sizes, and its inputs by position.

use autograd::Var;
use engine::shape::{axes3, check_shape};
use engine::{DType, Result, Tensor};

use crate::prompt_add_norm::Keep;

pub(super) const OP: &str = "layer_norm";

/// The parameters of a norm.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// `[d]`
    pub weight: &'a Var,
    /// `[d]`
    pub bias: &'a Var,
    /// What is added to the variance: 1e-6 in a ViT of `timm` or Google, 1e-12 in one of Hugging Face.
    pub eps: f32,
}

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const X: usize = 0;
    pub const WEIGHT: usize = 1;
    pub const BIAS: usize = 2;
    pub const RESIDUAL: usize = 3;
}

/// What a call is, without the values of its inputs.
pub(super) struct Call {
    /// The shape of x.
    pub shape: Vec<usize>,
    /// Type of x.
    pub dtype: DType,
    pub rows: usize,
    /// Rows of one image, which share a factor of `keep`.
    pub l: usize,
    pub d: usize,
    pub eps: f32,
    /// Whether the sum is an output.
    pub adds: bool,
    pub has_residual: bool,
    /// Drop path's factors, and the row of them that is used.
    pub keep: Option<(Tensor, usize)>,
}

impl Call {
    /// A call on `x [.. d]` alone, whose shapes are right.
    pub fn alone(x: &Var, norm: Norm) -> Result<Self> {
        let d = x.shape().last().copied().unwrap_or(0);
        for (name, parameter) in [("weight", norm.weight), ("bias", norm.bias)] {
            check_shape(OP, name, "[d]", &[d], parameter.shape())?;
        }
        let rows = x.value().numel() / d.max(1);
        Ok(Call {
            shape: x.shape().to_vec(),
            dtype: x.value().dtype(),
            rows,
            l: rows,
            d,
            eps: norm.eps,
            adds: false,
            has_residual: false,
            keep: None,
        })
    }

    /// A call that adds `h [b l d]` to a residual, whose shapes are right.
    pub fn adding(h: &Var, residual: Option<&Var>, norm: Norm, keep: Option<Keep>) -> Result<Self> {
        let [b, l, _] = axes3(OP, "h", "[b l d]", h.shape())?;
        let alone = Call::alone(h, norm)?;
        residual.map_or(Ok(()), |r| check_shape(OP, "residual", "[b l d]", h.shape(), r.shape()))?;
        if let Some(keep) = keep {
            let rows = keep.scales.shape().first().copied().unwrap_or(0).max(keep.row + 1);
            check_shape(OP, "keep", "[rows b]", &[rows, b], keep.scales.shape())?;
        }
        let keep = keep.map(|keep| (keep.scales.clone(), keep.row));
        Ok(Call { l, adds: true, has_residual: residual.is_some(), keep, ..alone })
    }

    /// Whether what is normalised differs from x, in value or in type, and is needed or kept.
    pub fn computes_sum(&self) -> bool {
        self.has_residual || self.keep.is_some() || (self.adds && self.dtype != DType::F32)
    }

    /// Drop path's factors of the images, on the CPU.
    pub fn keep(&self) -> Option<&[f32]> {
        let b = self.rows / self.l.max(1);
        self.keep.as_ref().map(|(scales, row)| &scales.as_slice()[row * b..(row + 1) * b])
    }
}
