//! AdamW on a launched device: every tensor in one launch.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{DType, Device, Result};

use super::cpu::Factors;
use super::{OP, Settings, Slot};
use crate::launch::{Table, check_type, grid, ptx_file, run};

static FILE: PtxFile = ptx_file!("adamw");
const THREADS: usize = 256;

pub fn step(
    device: &Device,
    launcher: &dyn Launcher,
    slots: &mut [Slot],
    settings: &Settings,
    number: u64,
) -> Result<()> {
    let mut table = Table::default();
    for slot in slots {
        check_type(OP, "a gradient", slot.grad, DType::F32)?;
        slot.param.make_unique(device);
        let shrink = Factors::new(settings, slot.decay, number).shrink;
        let written = [slot.param.region_mut(), slot.m.region_mut(), slot.v.region_mut()];
        table.add(&written, slot.grad.region(), slot.param.numel(), shrink.to_bits());
    }
    let f = Factors::new(settings, false, number);
    let factors = [f.new_m, f.old_v, f.new_v, f.rate, f.correct, f.eps].map(Arg::F32);
    let entries = table.tensor(device);
    let args = [&[entries.arg()], &factors[..], table.reached()].concat();
    let kernel = Kernel { file: &FILE, entry: "adamw_step" };
    run(launcher, kernel, grid(OP, [table.chunks(), 1, 1], THREADS)?, &args)
}
