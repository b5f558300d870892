//! What one call gets: prompts, settings, sizes, and its inputs by position.

use autograd::Var;
use engine::shape::{axes3, check_shape};
use engine::{DType, Element, Error, Result, Tensor};

use super::keep::Keep;

pub(super) const OP: &str = "prompt_add_norm";

/// Added to the mean square, as in Vim's RMSNorm.
pub const EPS: f64 = 1e-5;

/// Most prompts of one call: SVP's inner and cross prompt.
pub const MAX_PROMPTS: usize = 2;

/// A generated prompt, with the last bias of its generator and its learned scale.
#[derive(Clone, Copy)]
pub struct Prompt<'a> {
    /// What the generator's last product gave, before bias and SiLU: `[b l d]`.
    pub generated: &'a Var,
    /// `[d]`
    pub bias: &'a Var,
    /// `[rows d]`, of which one row is used.
    pub scale: &'a Var,
    /// The row of the scale that this call uses.
    pub row: usize,
}

/// The settings of one call.
#[derive(Clone, Copy, Default)]
pub struct Settings<'a> {
    /// The token that gets no prompt.
    pub skip: Option<usize>,
    /// Drop path's factor of each image.
    pub keep: Option<Keep<'a>>,
}

/// Positions of the inputs in a recorded call; `i` is the number of a prompt.
pub(super) mod at {
    pub const H: usize = 0;
    pub const RESIDUAL: usize = 1;
    pub const WEIGHT: usize = 2;

    pub const fn generated(i: usize) -> usize {
        3 + 3 * i
    }

    pub const fn bias(i: usize) -> usize {
        4 + 3 * i
    }

    pub const fn scale(i: usize) -> usize {
        5 + 3 * i
    }
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    pub l: usize,
    pub d: usize,
    /// The token that gets no prompt.
    pub skip: Option<usize>,
}

/// What a call is, without the values of its inputs.
pub(super) struct Call {
    pub dims: Dims,
    /// Type of h.
    pub dtype: DType,
    /// The row of each prompt's scale.
    pub rows: Vec<usize>,
    pub has_residual: bool,
    /// Drop path's factors, and the row of them that is used.
    pub keep: Option<(Tensor, usize)>,
}

impl Call {
    /// A call whose shapes are right.
    pub fn new(
        h: &Var,
        residual: Option<&Var>,
        prompts: &[Prompt],
        weight: &Var,
        settings: Settings,
    ) -> Result<Self> {
        let [b, l, d] = axes3(OP, "h", "[b l d]", h.shape())?;
        let is = |name, axes, want: &[usize], got: &[usize]| check_shape(OP, name, axes, want, got);
        residual.map_or(Ok(()), |r| is("residual", "[b l d]", &[b, l, d], r.shape()))?;
        is("weight", "[d]", &[d], weight.shape())?;
        if let Some(keep) = settings.keep {
            let rows = keep.scales.shape().first().copied().unwrap_or(0).max(keep.row + 1);
            is("keep", "[rows b]", &[rows, b], keep.scales.shape())?;
        }
        if prompts.len() > MAX_PROMPTS {
            let what = format!("{} prompts: at most {MAX_PROMPTS}", prompts.len());
            return Err(Error::Unsupported { op: OP, what });
        }
        for prompt in prompts {
            is("prompt", "[b l d]", &[b, l, d], prompt.generated.shape())?;
            is("bias", "[d]", &[d], prompt.bias.shape())?;
            let rows = prompt.scale.shape().first().copied().unwrap_or(0).max(prompt.row + 1);
            is("scale", "[rows d]", &[rows, d], prompt.scale.shape())?;
        }
        Ok(Call {
            dims: Dims { b, l, d, skip: settings.skip },
            dtype: h.value().dtype(),
            rows: prompts.iter().map(|p| p.row).collect(),
            has_residual: residual.is_some(),
            keep: settings.keep.map(|keep| (keep.scales.clone(), keep.row)),
        })
    }

    /// The inputs beside h as slices, from the tensors in recorded order.
    pub fn inputs<'a, E: Element>(&'a self, values: &'a [Tensor]) -> Inputs<'a, E> {
        let Dims { b, d, .. } = self.dims;
        let prompt = |(i, row): (usize, &usize)| PromptIn {
            generated: values[at::generated(i)].slice(),
            bias: values[at::bias(i)].as_slice(),
            scale: &values[at::scale(i)].as_slice()[row * d..(row + 1) * d],
        };
        Inputs {
            dims: self.dims,
            residual: self.has_residual.then(|| values[at::RESIDUAL].as_slice()),
            weight: values[at::WEIGHT].as_slice(),
            prompts: self.rows.iter().enumerate().map(prompt).collect(),
            keep: self.keep.as_ref().map(|(scales, row)| &scales.as_slice()[row * b..(row + 1) * b]),
        }
    }
}

/// The values of one prompt on the CPU.
#[derive(Clone, Copy)]
pub(super) struct PromptIn<'a, E> {
    /// `[b l d]`
    pub generated: &'a [E],
    /// `[d]`
    pub bias: &'a [f32],
    /// The row that is used, `[d]`.
    pub scale: &'a [f32],
}

/// The values of one call on the CPU, beside h.
pub(super) struct Inputs<'a, E> {
    pub dims: Dims,
    /// `[b l d]`
    pub residual: Option<&'a [f32]>,
    /// `[d]`
    pub weight: &'a [f32],
    pub prompts: Vec<PromptIn<'a, E>>,
    /// `[b]`
    pub keep: Option<&'a [f32]>,
}
