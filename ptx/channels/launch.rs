//! Chosen channels on a launched device.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{DType, Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{check_type, entry, grid, ptx_file, result, run, sizes};

static FILE: PtxFile = ptx_file!("channels");
const THREADS: usize = 256;

/// Writes the chosen channels of `x [rows d]` to `y [rows n]`, or adds them.
pub fn gather(
    launcher: &dyn Launcher,
    dims: Dims,
    x: &Tensor,
    channels: &Tensor,
    y: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    check_type(OP, "y", y, x.dtype())?;
    let args = vec![x.arg(), channels.arg(), result(y.region_mut(), accumulate)];
    let kernel = entry!(FILE, "channels_gather", x.dtype());
    each(launcher, dims, kernel, channels, (args, Some(accumulate)))
}

/// Adds `s [rows n]` to the chosen channels of `y [rows d]`.
pub fn add(launcher: &dyn Launcher, dims: Dims, s: &Tensor, channels: &Tensor, y: &mut Tensor) -> Result<()> {
    check_type(OP, "y", y, s.dtype())?;
    let args = vec![s.arg(), channels.arg(), y.arg_inout()];
    each(launcher, dims, entry!(FILE, "channels_add", s.dtype()), channels, (args, None))
}

/// Launches a thread for each chosen channel of each row.
fn each(
    launcher: &dyn Launcher,
    dims: Dims,
    kernel: Kernel,
    channels: &Tensor,
    (mut args, accumulate): (Vec<Arg>, Option<bool>),
) -> Result<()> {
    check_type(OP, "channels", channels, DType::F32)?;
    let Dims { rows, d, n } = dims;
    // The elements of x are counted in 31 bits.
    sizes(OP, [rows * d])?;
    args.extend(sizes(OP, [rows * n, d, n])?);
    args.extend(accumulate.map(|accumulate| Arg::U32(accumulate.into())));
    run(launcher, kernel, grid(OP, [(rows * n).div_ceil(THREADS), 1, 1], THREADS)?, &args)
}
