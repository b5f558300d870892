//! The frame on a launched device.

use autograd::Sink;
use engine::launch::{Arg, Launcher, PtxFile, Region};
use engine::{DType, Device, Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{check_type, entry, grid, optional, ptx_file, run, sizes};

static FILE: PtxFile = ptx_file!("frame");
const THREADS: usize = 256;

/// What the kernel does with a side, as its table says.
mod how {
    pub const NOT: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const ADD: u32 = 2;
}

/// The table of the sides, as an f32 tensor whose bits are the words.
fn table(device: &Device, sides: impl Iterator<Item = (Region, u32)>) -> Tensor {
    let words = sides.flat_map(|(region, how)| [region.at as u32, (region.at >> 32) as u32, how, 0]);
    let bits: Vec<f32> = words.map(f32::from_bits).collect();
    Tensor::from_slice(device, &bits, &[bits.len()])
}

fn all_sizes(d: Dims) -> Result<[Arg; 5]> {
    sizes(OP, [d.b, d.c, d.s, d.w, d.frames])
}

/// Writes y. `sides` has four for every frame.
pub fn forward(
    device: &Device,
    launcher: &dyn Launcher,
    d: Dims,
    x: &Tensor,
    sides: &[&Tensor],
    assignment: Option<&Tensor>,
    y: &mut Tensor,
) -> Result<()> {
    for side in sides {
        check_type(OP, "a side", side, DType::F32)?;
    }
    let table = table(device, sides.iter().map(|side| (side.region(), how::NOT)));
    let mut args = vec![x.arg(), table.arg(), optional(assignment), y.arg_mut()];
    args.extend(all_sizes(d)?);
    args.extend(sides.iter().filter(|side| side.numel() > 0).map(|side| Arg::ReachedIn(side.region())));
    let blocks = (d.c * d.s * d.s).div_ceil(THREADS);
    let kernel = entry!(FILE, "frame_forward", x.dtype());
    run(launcher, kernel, grid(OP, [blocks, d.b, 1], THREADS)?, &args)
}

/// Writes the gradients of the sides that want one, or adds to them.
pub fn grad_sides(
    device: &Device,
    launcher: &dyn Launcher,
    d: Dims,
    dy: &Tensor,
    assignment: Option<&Tensor>,
    sides: &mut [Option<Sink>],
) -> Result<()> {
    let regions: Vec<(Region, u32)> = sides
        .iter_mut()
        .map(|sink| match sink {
            Some(sink) => (sink.tensor.region_mut(), if sink.accumulate { how::ADD } else { how::WRITE }),
            None => (Region::EMPTY, how::NOT),
        })
        .collect();
    let table = table(device, regions.iter().copied());
    let mut args = vec![dy.arg(), table.arg(), optional(assignment)];
    args.extend(all_sizes(d)?);
    args.extend(
        regions.iter().filter(|(region, _)| region.bytes > 0).map(|&(region, _)| Arg::ReachedInOut(region)),
    );
    let values: usize = (0..4).map(|side| d.side(side).iter().product::<usize>()).sum();
    let kernel = entry!(FILE, "frame_gradient", dy.dtype());
    run(launcher, kernel, grid(OP, [values.div_ceil(THREADS), d.frames, 1], THREADS)?, &args)
}
