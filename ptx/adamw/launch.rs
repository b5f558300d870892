//! AdamW on a launched device: every tensor in one launch.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{Device, Result, Tensor};

use super::cpu::Factors;
use super::{OP, Settings, Slot};
use crate::launch::{grid, ptx_file, run};

static FILE: PtxFile = ptx_file!("adamw");
const THREADS: usize = 256;
/// Elements of one tensor that one block takes.
const CHUNK: usize = 4096;

pub fn step(
    device: &Device,
    launcher: &dyn Launcher,
    slots: &mut [Slot],
    settings: &Settings,
    number: u64,
) -> Result<()> {
    let mut table = vec![];
    for slot in slots {
        slot.param.make_unique(device);
        let (n, shrink) = (slot.param.numel(), Factors::new(settings, slot.decay, number).shrink);
        let at = [slot.param.region_mut(), slot.grad.region(), slot.m.region_mut(), slot.v.region_mut()];
        for first in (0..n).step_by(CHUNK) {
            table.extend(at.iter().flat_map(|region| words(region.skip(4 * first).at)));
            table.extend([f32::from_bits((n - first).min(CHUNK) as u32), shrink]);
        }
    }
    let blocks = table.len() / 10;
    let table = Tensor::from_slice(device, &table, &[blocks, 10]);
    let f = Factors::new(settings, false, number);
    let factors = [f.new_m, f.old_v, f.new_v, f.rate, f.correct, f.eps].map(Arg::F32);
    let args = [&[table.arg()], &factors[..]].concat();
    run(launcher, Kernel { file: &FILE, entry: "adamw_step" }, grid(OP, [blocks, 1, 1], THREADS)?, &args)
}

/// An address as the bits of two table entries.
fn words(at: u64) -> [f32; 2] {
    [at as u32, (at >> 32) as u32].map(f32::from_bits)
}
