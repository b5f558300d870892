//! Column sums on a launched device.

use engine::launch::{Arg, PtxFile, Region};
use engine::{DType, Device, Result, Tensor};

use crate::launch::{entry, ptx_file, result, run, sizes};

static FILE: PtxFile = ptx_file!("rows");
/// Columns of a block, and the warps that share its rows.
const COLUMNS: usize = 32;
/// Rows that one block sums. More rows are summed in parts, and then the parts.
const PART: usize = 1024;

/// Rows in a tensor: `rows` of them, `width` elements each, their first elements `stride` apart from `first` on.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub tensor: &'a Tensor,
    pub first: usize,
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// A whole tensor as rows of `width`.
    pub fn of(tensor: &'a Tensor, width: usize) -> Self {
        Rows { tensor, first: 0, rows: tensor.numel() / width.max(1), width, stride: width }
    }
}

/// Writes the sum of the rows to `to`, f32 `[width]`, or adds it there.
pub(crate) fn sum(device: &Device, x: Rows, to: Region, accumulate: bool) -> Result<()> {
    let parts = x.rows.div_ceil(PART).max(1);
    if parts == 1 {
        return sum_parts(device, x, 1, to, accumulate);
    }
    let mut partial = Tensor::empty(device, &[parts, x.width]);
    sum_parts(device, x, parts, partial.region_mut(), false)?;
    sum(device, Rows::of(&partial, x.width), to, accumulate)
}

fn sum_parts(device: &Device, x: Rows, parts: usize, to: Region, accumulate: bool) -> Result<()> {
    let dtype = x.tensor.dtype();
    let used = |elements: usize, dtype: DType| elements * dtype.size();
    let from = x.tensor.region().skip(used(x.first, dtype));
    let to = Region { bytes: used(parts * x.width, DType::F32), ..to };
    let mut args = vec![Arg::In(from), result(to, accumulate)];
    args.extend(sizes("rows", [x.rows, x.width, x.stride, PART, usize::from(accumulate)])?);
    let mut grid = crate::launch::grid("rows", [x.width.div_ceil(COLUMNS), parts, 1], COLUMNS)?;
    grid.threads[1] = COLUMNS as u32;
    let launcher = device.launcher().expect("a launched device");
    run(launcher, entry!(FILE, "rows_sum", dtype), grid, &args)
}
