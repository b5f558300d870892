//! Scale and shift on a launched device.

use autograd::Sink;
use engine::launch::{Arg, Launcher, PtxFile};
use engine::{DType, Device, Result, Tensor};

use super::call::OP;
use crate::launch::{check_type, each, entry, grid, optional, ptx_file, result, run, sizes, wide};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("scale_shift");
const THREADS: usize = 256;
/// Columns of a block of `products`, and the warps that share its rows.
const COLUMNS: usize = 32;
/// Rows that one block of `products` sums.
const PART: usize = 1024;

/// Writes y.
pub fn forward(
    launcher: &dyn Launcher,
    x: &Tensor,
    scale: &Tensor,
    shift: Option<&Tensor>,
    y: &mut Tensor,
) -> Result<()> {
    check_type(OP, "scale", scale, DType::F32)?;
    shift.map_or(Ok(()), |shift| check_type(OP, "shift", shift, DType::F32))?;
    elements(launcher, x, scale, optional(shift), y, false)
}

/// Writes dx, or adds to it.
pub fn grad_x(
    launcher: &dyn Launcher,
    dy: &Tensor,
    scale: &Tensor,
    dx: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    check_type(OP, "the gradient of x", dx, dy.dtype())?;
    elements(launcher, dy, scale, Arg::None, dx, accumulate)
}

fn elements(
    launcher: &dyn Launcher,
    x: &Tensor,
    scale: &Tensor,
    shift: Arg,
    y: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let (n, d, dtype) = (x.numel(), scale.numel(), x.dtype());
    let mut args = vec![x.arg(), scale.arg(), shift, result(y.region_mut(), accumulate)];
    args.extend(sizes(OP, [n, d, usize::from(accumulate)])?);
    let blocks = n.div_ceil(THREADS * each(d, wide(dtype)));
    run(launcher, entry!(FILE, "scale_shift_forward", dtype), grid(OP, [blocks, 1, 1], THREADS)?, &args)
}

/// Computes the gradients of scale and shift that are asked for. That of the scale needs x.
pub fn grad_channels(
    device: &Device,
    launcher: &dyn Launcher,
    dy: &Tensor,
    x: Option<&Tensor>,
    [scale, shift]: [Option<&mut Sink>; 2],
) -> Result<()> {
    if let (Some(sink), Some(x)) = (scale, x) {
        let d = sink.tensor.numel();
        let rows = dy.numel() / d.max(1);
        let mut partial = Tensor::empty(device, &[rows.div_ceil(PART).max(1), d]);
        let parts = partial.shape()[0];
        let mut args = vec![dy.arg(), x.arg(), partial.arg_mut()];
        args.extend(sizes(OP, [rows, d, PART])?);
        let mut grid = grid(OP, [d.div_ceil(COLUMNS), parts, 1], COLUMNS)?;
        grid.threads[1] = COLUMNS as u32;
        run(launcher, entry!(FILE, "scale_shift_products", dy.dtype()), grid, &args)?;
        sum(device, Rows::of(&partial, d), sink.tensor.region_mut(), sink.accumulate)?;
    }
    if let Some(sink) = shift {
        let d = sink.tensor.numel();
        sum(device, Rows::of(dy, d), sink.tensor.region_mut(), sink.accumulate)?;
    }
    Ok(())
}
