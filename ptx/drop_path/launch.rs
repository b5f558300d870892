//! Drop path on a launched device.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{Result, Tensor};

use super::OP;
use crate::launch::{each, entry, grid, ptx_file, run, size, wide};

static FILE: PtxFile = ptx_file!("drop_path");
const THREADS: usize = 256;

/// Each sample of x, scaled by its `keep`.
pub fn forward(launcher: &dyn Launcher, keep: &Tensor, x: &Tensor, y: &mut Tensor) -> Result<()> {
    let kernel = entry!(FILE, "drop_path_forward", x.dtype());
    samples(launcher, kernel, x, keep.numel(), &[x.arg(), keep.arg(), y.arg_mut()])
}

/// Turns dy into dx in place.
pub fn backward(launcher: &dyn Launcher, keep: &Tensor, dy: &mut Tensor) -> Result<()> {
    let (kernel, at) = (entry!(FILE, "drop_path_backward", dy.dtype()), dy.arg_inout());
    samples(launcher, kernel, dy, keep.numel(), &[at, keep.arg()])
}

fn samples(launcher: &dyn Launcher, kernel: Kernel, x: &Tensor, samples: usize, args: &[Arg]) -> Result<()> {
    let width = x.numel() / samples.max(1);
    let blocks = width.div_ceil(THREADS * each(width, wide(x.dtype())));
    let args = [args, &[Arg::U32(size(OP, width)?)]].concat();
    run(launcher, kernel, grid(OP, [blocks, samples, 1], THREADS)?, &args)
}
