//! The gradient norm on a launched device: the squares of all tensors in one launch, their sum in another.

use engine::launch::{Kernel, Launcher, PtxFile};
use engine::{DType, Device, Result, Tensor};

use super::call::OP;
use crate::launch::{Table, check_type, grid, ptx_file, run, sizes};

static FILE: PtxFile = ptx_file!("grad_norm");
const THREADS: usize = 256;

pub fn grad_norm(
    device: &Device,
    launcher: &dyn Launcher,
    loss: &Tensor,
    grads: &[&Tensor],
    health: &mut Tensor,
) -> Result<()> {
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
    let [chunks] = sizes(OP, [table.chunks()])?;
    let kernel = Kernel { file: &FILE, entry: "grad_norm_finish" };
    let args = [squares.arg(), loss.arg(), health.arg_inout(), chunks];
    run(launcher, kernel, grid(OP, [1, 1, 1], THREADS)?, &args)
}
