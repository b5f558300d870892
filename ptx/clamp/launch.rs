//! The bounds on a launched device.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{DType, Result, Tensor};

use super::call::OP;
use crate::launch::{check_type, grid, ptx_file, run, size, wide};

static FILE: PtxFile = ptx_file!("clamp");
const THREADS: usize = 256;

/// Moves values to the bounds.
pub fn clamp(launcher: &dyn Launcher, x: &mut Tensor, low: f32, high: f32) -> Result<()> {
    check_type(OP, "x", x, DType::F32)?;
    let n = x.numel();
    let args = [x.arg_inout(), Arg::U32(size(OP, n)?), Arg::F32(low), Arg::F32(high)];
    let kernel = Kernel { file: &FILE, entry: "clamp_elements" };
    run(launcher, kernel, grid(OP, [n.div_ceil(THREADS * wide(DType::F32)), 1, 1], THREADS)?, &args)
}
