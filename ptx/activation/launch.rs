//! The functions on a launched device.

use engine::launch::{Launcher, PtxFile};
use engine::{Result, Tensor};

use super::call::{Activation, OP};
use crate::launch::{check_type, entry, grid, ptx_file, result, run, sizes, wide};

static FILE: PtxFile = ptx_file!("activation");
const THREADS: usize = 256;

/// The kernel of a pass for a function and a type.
macro_rules! of {
    ($pass:literal, $f:expr, $dtype:expr) => {
        match $f {
            Activation::Relu => entry!(FILE, concat!($pass, "_relu"), $dtype),
            Activation::QuickGelu => entry!(FILE, concat!($pass, "_quick_gelu"), $dtype),
            Activation::Tanh => entry!(FILE, concat!($pass, "_tanh"), $dtype),
            Activation::Exp => entry!(FILE, concat!($pass, "_exp"), $dtype),
            Activation::Gelu => entry!(FILE, concat!($pass, "_gelu"), $dtype),
        }
    };
}

/// Writes y.
pub fn forward(launcher: &dyn Launcher, f: Activation, x: &Tensor, y: &mut Tensor) -> Result<()> {
    let mut args = vec![x.arg(), y.arg_mut()];
    args.extend(sizes(OP, [x.numel()])?);
    let blocks = x.numel().div_ceil(THREADS * wide(x.dtype()));
    run(launcher, of!("activation_forward", f, x.dtype()), grid(OP, [blocks, 1, 1], THREADS)?, &args)
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
    args.extend(sizes(OP, [x.numel(), usize::from(accumulate)])?);
    let blocks = x.numel().div_ceil(THREADS * wide(x.dtype()));
    run(launcher, of!("activation_backward", f, x.dtype()), grid(OP, [blocks, 1, 1], THREADS)?, &args)
}
