//! What one call gets.

use autograd::Var;
use engine::Result;
use engine::shape::{axes3, check_shape};

pub(super) const OP: &str = "prompt_chain";

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const FIRST: usize = 0;
    pub const LATER: usize = 1;
    pub const MATRICES: usize = 2;
}

/// What the prompts of a layer build on.
#[derive(Clone, Copy)]
pub enum Reach<'a> {
    /// Those of the layer before, as they are or with their rows mixed by matrices `[k n n]`.
    Previous(Option<&'a Var>),
    /// Those of all layers before.
    All,
}

impl<'a> Reach<'a> {
    pub(super) fn matrices(self) -> Option<&'a Var> {
        match self {
            Reach::Previous(matrices) => matrices,
            Reach::All => None,
        }
    }
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    /// Layers behind the first.
    pub k: usize,
    pub n: usize,
    pub d: usize,
    pub all: bool,
}

impl Dims {
    pub fn new(first: &Var, later: &Var, reach: Reach) -> Result<Self> {
        let [k, n, d] = axes3(OP, "later", "[k n d]", later.shape())?;
        check_shape(OP, "first", "[1 n d]", &[1, n, d], first.shape())?;
        if let Some(matrices) = reach.matrices() {
            check_shape(OP, "matrices", "[k n n]", &[k, n, n], matrices.shape())?;
        }
        Ok(Dims { k, n, d, all: matches!(reach, Reach::All) })
    }
}
