//! The gradient norm on a launched device: all tensors in one launch.

use engine::launch::{Kernel, Launcher, PtxFile};
use engine::{DType, Device, Result, Tensor};

use super::OP;
use crate::launch::{Table, check_type, grid, ptx_file, run};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("grad_norm");
const THREADS: usize = 256;

/// The sum of all squares.
pub fn squares(device: &Device, launcher: &dyn Launcher, grads: &[&Tensor]) -> Result<f64> {
    let mut table = Table::default();
    for grad in grads {
        check_type(OP, "a gradient", grad, DType::F32)?;
        table.add(&[], grad.region(), grad.numel(), 0);
    }
    let mut squares = Tensor::empty(device, &[table.chunks()]);
    let entries = table.tensor(device);
    let args = [&[entries.arg(), squares.arg_mut()], table.reached()].concat();
    let kernel = Kernel { file: &FILE, entry: "grad_norm_squares" };
    run(launcher, kernel, grid(OP, [table.chunks(), 1, 1], THREADS)?, &args)?;
    let mut total = Tensor::empty(device, &[1]);
    sum(device, Rows::of(&squares, 1), total.region_mut(), false)?;
    Ok(f64::from(total.values()?[0]))
}
