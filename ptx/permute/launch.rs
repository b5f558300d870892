//! The order of axes on a launched device.

use engine::launch::{Launcher, PtxFile};
use engine::{Result, Tensor};

use super::call::{OP, Order};
use crate::launch::{check_type, entry, grid, ptx_file, result, run, sizes};

static FILE: PtxFile = ptx_file!("permute");
const THREADS: usize = 256;

/// Writes y, or adds to it.
pub fn place(
    launcher: &dyn Launcher,
    order: &Order,
    x: &Tensor,
    y: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    check_type(OP, "y", y, x.dtype())?;
    let (n, [_, rows, columns], [a, b, c]) = (y.numel(), order.shape, order.strides);
    let mut args = vec![x.arg(), result(y.region_mut(), accumulate)];
    args.extend(sizes(OP, [n, rows, columns, a, b, c, usize::from(accumulate)])?);
    let blocks = n.div_ceil(THREADS);
    run(launcher, entry!(FILE, "permute_place", x.dtype()), grid(OP, [blocks, 1, 1], THREADS)?, &args)
}
