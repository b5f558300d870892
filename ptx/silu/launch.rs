//! SiLU on a launched device.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{Result, Tensor};

use crate::launch::{entry, grid, ptx_file, run, size, wide};

static FILE: PtxFile = ptx_file!("silu");
const THREADS: usize = 256;

pub fn forward(launcher: &dyn Launcher, x: &Tensor, y: &mut Tensor) -> Result<()> {
    each(launcher, entry!(FILE, "silu_forward", x.dtype()), x, y.arg_mut())
}

/// Turns dy into dx in place.
pub fn backward(launcher: &dyn Launcher, x: &Tensor, dy: &mut Tensor) -> Result<()> {
    each(launcher, entry!(FILE, "silu_backward", x.dtype()), x, dy.arg_inout())
}

fn each(launcher: &dyn Launcher, kernel: Kernel, x: &Tensor, y: Arg) -> Result<()> {
    let n = Arg::U32(size("silu", x.numel())?);
    let blocks = x.numel().div_ceil(THREADS * wide(x.dtype()));
    run(launcher, kernel, grid("silu", [blocks, 1, 1], THREADS)?, &[x.arg(), y, n])
}
