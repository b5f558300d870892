//! The nearest prototype on a launched device.

use engine::launch::{Kernel, Launcher, PtxFile};
use engine::{DType, Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{check_type, grid, ptx_file, run, sizes};

static FILE: PtxFile = ptx_file!("nearest");
/// Threads of the block that takes a row.
const THREADS: usize = 128;

/// Writes the number of the nearest prototype of each row of x.
pub fn nearest(
    launcher: &dyn Launcher,
    dims: Dims,
    x: &Tensor,
    prototypes: &Tensor,
    numbers: &mut Tensor,
) -> Result<()> {
    check_type(OP, "x", x, DType::F32)?;
    check_type(OP, "prototypes", prototypes, DType::F32)?;
    let [m, d] = sizes(OP, [dims.m, dims.d])?;
    let args = [x.arg(), prototypes.arg(), numbers.arg_mut(), m, d];
    let kernel = Kernel { file: &FILE, entry: "nearest_rows" };
    run(launcher, kernel, grid(OP, [dims.b, 1, 1], THREADS)?, &args)
}
