//! The chain of prompts on a launched device.

use std::ops::Range;

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{DType, Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{check_type, grid, optional, ptx_file, result, run, sizes};

static FILE: PtxFile = ptx_file!("prompt_chain");
const THREADS: usize = 256;
/// Warps of a block that each sum one element of a matrix.
const WARPS: usize = THREADS / 32;

impl Dims {
    /// Layers behind the first, prompts, channels, and whether all layers before count.
    fn args(&self) -> Result<[Arg; 4]> {
        sizes(OP, [(self.k + 1) * self.n * self.d.max(self.n)])?;
        sizes(OP, [self.k, self.n, self.d, usize::from(self.all)])
    }
}

/// Writes y.
pub fn forward(
    launcher: &dyn Launcher,
    dims: Dims,
    prompts: [&Tensor; 2],
    matrices: Option<&Tensor>,
    y: &mut Tensor,
) -> Result<()> {
    for (name, tensor) in ["first", "later"].into_iter().zip(prompts) {
        check_type(OP, name, tensor, DType::F32)?;
    }
    matrices.map_or(Ok(()), |matrices| check_type(OP, "matrices", matrices, DType::F32))?;
    let mut args = vec![prompts[0].arg(), prompts[1].arg(), optional(matrices), y.arg_mut()];
    args.extend(dims.args()?);
    let kernel = Kernel { file: &FILE, entry: "prompt_chain_forward" };
    let blocks = (dims.k * dims.n * dims.d).div_ceil(THREADS);
    run(launcher, kernel, grid(OP, [blocks, 1, 1], THREADS)?, &args)
}

/// Writes the gradients of the prompts of these layers, or adds them.
pub fn grad_prompts(
    launcher: &dyn Launcher,
    dims: Dims,
    layers: Range<usize>,
    matrices: Option<&Tensor>,
    dy: &Tensor,
    to: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let mut args = vec![dy.arg(), optional(matrices), result(to.region_mut(), accumulate)];
    args.extend(dims.args()?);
    args.extend(sizes(OP, [layers.start, layers.len(), usize::from(accumulate)])?);
    let kernel = Kernel { file: &FILE, entry: "prompt_chain_grad_prompts" };
    let blocks = (layers.len() * dims.n * dims.d).div_ceil(THREADS);
    run(launcher, kernel, grid(OP, [blocks, 1, 1], THREADS)?, &args)
}

/// Writes the gradient of the matrices, or adds it.
pub fn grad_matrices(
    launcher: &dyn Launcher,
    dims: Dims,
    prompts: [&Tensor; 2],
    dy: &Tensor,
    to: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let mut args = vec![dy.arg(), prompts[0].arg(), prompts[1].arg(), result(to.region_mut(), accumulate)];
    args.extend(dims.args()?);
    args.extend(sizes(OP, [usize::from(accumulate)])?);
    let kernel = Kernel { file: &FILE, entry: "prompt_chain_grad_matrices" };
    let blocks = (dims.k * dims.n * dims.n).div_ceil(WARPS);
    run(launcher, kernel, grid(OP, [blocks, 1, 1], THREADS)?, &args)
}
