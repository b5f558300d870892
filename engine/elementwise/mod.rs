//! Sums and casts of whole tensors on a launched device.

use crate::launch::{Arg, Grid, Kernel, Launcher, PtxFile, Region};
use crate::{DType, Error, Result};

static FILE: PtxFile = PtxFile { name: "elementwise/kernel.ptx", text: include_str!("kernel.ptx") };

/// The number of threads in a block.
const THREADS: usize = 256;
/// The number of elements of a thread.
const EACH: usize = 4;

/// Elements on a launched device.
#[derive(Clone, Copy)]
pub(crate) struct Elements {
    pub region: Region,
    pub dtype: DType,
}

/// Computes `to += from` over `n` elements of any types, with sums in f32.
pub(crate) fn add_assign(launcher: &dyn Launcher, n: usize, to: Elements, from: Elements) -> Result<()> {
    let entry = match (to.dtype, from.dtype) {
        (DType::F32, DType::F32) => "elementwise_add_f32_f32",
        (DType::F32, DType::Bf16) => "elementwise_add_f32_bf16",
        (DType::Bf16, DType::F32) => "elementwise_add_bf16_f32",
        (DType::Bf16, DType::Bf16) => "elementwise_add_bf16_bf16",
    };
    launch(launcher, entry, n, Arg::InOut(to.region), from.region)
}

/// Computes `to = from` over `n` elements of two types that differ, rounded to nearest.
pub(crate) fn cast(launcher: &dyn Launcher, n: usize, to: Elements, from: Elements) -> Result<()> {
    let entry = match to.dtype {
        DType::F32 => "elementwise_cast_f32_bf16",
        DType::Bf16 => "elementwise_cast_bf16_f32",
    };
    launch(launcher, entry, n, Arg::Out(to.region), from.region)
}

fn launch(launcher: &dyn Launcher, entry: &'static str, n: usize, to: Arg, from: Region) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    let count = i32::try_from(n).map_err(|_| {
        let what = format!("{n} elements, where at most {} are supported", i32::MAX);
        Error::Unsupported { op: "elementwise", what }
    })?;
    let blocks = n.div_ceil(THREADS * EACH) as u32;
    let grid = Grid { blocks: [blocks, 1, 1], threads: [THREADS as u32, 1, 1], shared: 0 };
    launcher.launch(Kernel { file: &FILE, entry }, grid, &[to, Arg::In(from), Arg::U32(count as u32)])
}
