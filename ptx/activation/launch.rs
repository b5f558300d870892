//! The functions on a launched device.

use engine::launch::{Launcher, PtxFile};
use engine::{Result, Tensor};

use super::call::{Activation, OP};
use crate::launch::{check_type, entry, grid, ptx_file, result, run, sizes, wide};

static FILE: PtxFile = ptx_file!("activation");
const THREADS: usize = 256;

/// Writes y.
pub fn forward(launcher: &dyn Launcher, f: Activation, x: &Tensor, y: &mut Tensor) -> Result<()> {
    let mut args = vec![x.arg(), y.arg_mut()];
    args.extend(sizes(OP, [x.numel(), f.number()])?);
    let blocks = x.numel().div_ceil(THREADS * wide(x.dtype()));
    run(launcher, entry!(FILE, "activation_forward", x.dtype()), grid(OP, [blocks, 1, 1], THREADS)?, &args)
}

/// Writes dx, or adds to it.
pub fn grad(
    launcher: &dyn Launcher,
    f: Activation,
    x: &Tensor,
    dy: &Tensor,
    dx: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    check_type(OP, "the gradient of x", dx, x.dtype())?;
    let mut args = vec![x.arg(), dy.arg(), result(dx.region_mut(), accumulate)];
    args.extend(sizes(OP, [x.numel(), f.number(), usize::from(accumulate)])?);
    let blocks = x.numel().div_ceil(THREADS * wide(x.dtype()));
    run(launcher, entry!(FILE, "activation_backward", x.dtype()), grid(OP, [blocks, 1, 1], THREADS)?, &args)
}
