//! Device memory of the SVP step of Vim-S by batch size, from what the program allocates. Nothing runs.

use std::sync::Arc;

use engine::{DType, Device};
use svp::backbones::vim::VimConfig;
use testkit::vim_s::Step;

use crate::launcher::Dry;

const BATCHES: [usize; 5] = [8, 32, 64, 96, 128];
const TYPES: [DType; 2] = [DType::F32, DType::Bf16];

/// Bytes of one batch size.
pub struct Memory {
    pub batch: usize,
    /// Of f32 and of bf16: the most that tensors take at once, and what the pool holds.
    pub bytes: [[usize; 2]; 2],
}

pub fn measure() -> Result<Vec<Memory>, String> {
    let of = |batch: usize, dtype| -> svp::Result<[usize; 2]> {
        let device = Device::launched(Arc::new(Dry::default()));
        let config = VimConfig::named("vim_small")?;
        let mut step = Step::new(&device, config, batch, dtype)?;
        device.trim();
        step.submit()?;
        Ok([device.memory().0, device.held()])
    };
    let row = |batch| {
        let [f32, bf16] = TYPES.map(|dtype| of(batch, dtype));
        Ok(Memory { batch, bytes: [f32?, bf16?] })
    };
    BATCHES.into_iter().map(row).collect::<svp::Result<_>>().map_err(|e| e.to_string())
}
