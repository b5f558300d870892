//! The moving average on a launched device: all tensors in one launch.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{DType, Device, Result, Tensor};

use super::call::{OP, Slot};
use crate::launch::{Table, check_type, grid, ptx_file, run};

static FILE: PtxFile = ptx_file!("ema");
const THREADS: usize = 256;

pub fn step(
    device: &Device,
    launcher: &dyn Launcher,
    slots: &mut [Slot],
    rate: f32,
    health: &Tensor,
) -> Result<()> {
    let mut table = Table::default();
    for slot in slots {
        check_type(OP, "a value", slot.value, DType::F32)?;
        table.add(&[slot.average.region_mut()], slot.value.region(), slot.value.numel(), 0);
    }
    let entries = table.tensor(device);
    let args = [&[entries.arg(), Arg::F32(rate), health.arg()], table.reached()].concat();
    let kernel = Kernel { file: &FILE, entry: "ema_step" };
    run(launcher, kernel, grid(OP, [table.chunks(), 1, 1], THREADS)?, &args)
}
