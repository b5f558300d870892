//! SGD with momentum on a launched device: every tensor in one launch.

use engine::launch::{Kernel, Launcher, PtxFile};
use engine::{DType, Device, Result, Tensor};

use super::call::{OP, Slot};
use crate::launch::{Table, check_type, grid, ptx_file, run};

static FILE: PtxFile = ptx_file!("sgd");
const THREADS: usize = 256;

pub fn step(
    device: &Device,
    launcher: &dyn Launcher,
    slots: &mut [Slot],
    factors: &Tensor,
    health: &Tensor,
) -> Result<()> {
    let mut table = Table::default();
    for slot in slots {
        check_type(OP, "a gradient", slot.grad, DType::F32)?;
        let written = [slot.param.region_mut(), slot.buffer.region_mut()];
        table.add(&written, slot.grad.region(), slot.param.numel(), slot.decay.into());
    }
    let entries = table.tensor(device);
    let args = [&[entries.arg(), factors.arg(), health.arg()], table.reached()].concat();
    let kernel = Kernel { file: &FILE, entry: "sgd_step" };
    run(launcher, kernel, grid(OP, [table.chunks(), 1, 1], THREADS)?, &args)
}
