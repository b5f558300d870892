//! Added rows on a launched device.

use engine::launch::{Arg, Grid, Launcher, PtxFile, Region};
use engine::{DType, Result, Tensor};

use super::call::{Call, OP};
use crate::launch::{check_type, each, entry, grid, ptx_file, run, sizes, wide};

static FILE: PtxFile = ptx_file!("add_rows");
const THREADS: usize = 256;
/// Columns of a block that sums, and warps that take its images.
const COLUMNS: usize = 32;

impl Call {
    /// The entry of `values [k n d]`.
    fn region(&self, values: &Tensor) -> Region {
        let bytes = self.n * self.d * DType::F32.size();
        Region { bytes, ..values.region().skip(self.entry * bytes) }
    }
}

/// Adds the learned rows of `values [k n d]` to `y [b l d]`.
pub fn add(launcher: &dyn Launcher, call: &Call, values: &Tensor, y: &mut Tensor) -> Result<()> {
    check_type(OP, "rows", values, DType::F32)?;
    check_type(OP, "at", &call.at, DType::F32)?;
    let &Call { b, l, d, n, stride, weight, .. } = call;
    let dtype = y.dtype();
    let mut args = vec![y.arg_inout(), Arg::In(call.region(values)), call.at.arg()];
    args.extend(&sizes(OP, [n * d, l, d, stride, l * d])?[..4]);
    args.push(Arg::F32(weight));
    let blocks = (n * d).div_ceil(THREADS * each(d, wide(dtype)));
    run(launcher, entry!(FILE, "add_rows_add", dtype), grid(OP, [blocks, b, 1], THREADS)?, &args)
}

/// Adds to the gradient of `values [k n d]`.
pub fn grad(launcher: &dyn Launcher, call: &Call, dy: &Tensor, to: &mut Tensor) -> Result<()> {
    let &Call { b, l, d, n, stride, weight, .. } = call;
    to.region_mut();
    let mut args = vec![dy.arg(), call.at.arg(), Arg::InOut(call.region(to))];
    args.extend(sizes(OP, [b, l, d, stride])?);
    args.push(Arg::F32(weight));
    let grid = grid(OP, [d.div_ceil(COLUMNS), n, 1], COLUMNS)?;
    let grid = Grid { threads: [COLUMNS as u32, COLUMNS as u32, 1], ..grid };
    run(launcher, entry!(FILE, "add_rows_grad", dy.dtype()), grid, &args)
}
