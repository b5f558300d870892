//! SimAM on a launched device.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{Result, Tensor};

use super::call::OP;
use crate::launch::{entry, grid, ptx_file, run, size};

static FILE: PtxFile = ptx_file!("simam");
const THREADS: usize = 512;

/// Writes y.
pub fn forward(launcher: &dyn Launcher, pixels: usize, x: &Tensor, y: &mut Tensor) -> Result<()> {
    channels(launcher, entry!(FILE, "simam_forward", x.dtype()), pixels, x, y.arg_mut())
}

/// Turns dy into dx in place.
pub fn backward(launcher: &dyn Launcher, pixels: usize, x: &Tensor, dy: &mut Tensor) -> Result<()> {
    channels(launcher, entry!(FILE, "simam_backward", x.dtype()), pixels, x, dy.arg_inout())
}

fn channels(launcher: &dyn Launcher, kernel: Kernel, pixels: usize, x: &Tensor, y: Arg) -> Result<()> {
    let grid = grid(OP, [x.numel() / pixels, 1, 1], THREADS)?;
    run(launcher, kernel, grid, &[x.arg(), y, Arg::U32(size(OP, pixels)?)])
}
