//! The mean of rows on a launched device.

use engine::launch::{Arg, Launcher, PtxFile};
use engine::{Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{each, entry, grid, ptx_file, result, run, sizes, wide};

static FILE: PtxFile = ptx_file!("mean_rows");
/// Columns of a block of the forward kernel, and the rows of threads that share its rows.
const COLUMNS: usize = 32;
const ROWS: usize = 32;
const THREADS: usize = 256;

/// Writes the means to y.
pub fn forward(launcher: &dyn Launcher, dims: Dims, x: &Tensor, y: &mut Tensor) -> Result<()> {
    let Dims { b, l, d, skip } = dims;
    let dtype = x.dtype();
    // All elements of a sample are counted in 31 bits.
    sizes(OP, [l * d])?;
    let mut args = vec![x.arg(), y.arg_mut()];
    args.extend(sizes(OP, [l, d, skip])?);
    args.push(Arg::F32(dims.share()));
    let mut grid = grid(OP, [d.div_ceil(COLUMNS), b, 1], COLUMNS)?;
    grid.threads[1] = ROWS as u32;
    run(launcher, entry!(FILE, "mean_rows_forward", dtype), grid, &args)
}

/// Writes the gradient of x to dx, or adds it.
pub fn backward(launcher: &dyn Launcher, dims: Dims, dy: &Tensor, dx: &mut Tensor, add: bool) -> Result<()> {
    let Dims { b, l, d, skip } = dims;
    let dtype = dx.dtype();
    let mut args = vec![dy.arg(), result(dx.region_mut(), add)];
    args.extend(&sizes(OP, [l, d, skip, usize::from(add), l * d])?[..4]);
    args.push(Arg::F32(dims.share()));
    let blocks = (l * d).div_ceil(THREADS * each(d, wide(dtype)));
    run(launcher, entry!(FILE, "mean_rows_backward", dtype), grid(OP, [blocks, b, 1], THREADS)?, &args)
}
