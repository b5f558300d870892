//! The zoom and the prompt on a launched device.

use autograd::Sink;
use engine::launch::{Arg, Launcher, PtxFile};
use engine::{DType, Device, Result, Tensor};

use super::call::{CHANNELS, Dims, Normalisation, OP};
use crate::launch::{check_type, entry, grid, ptx_file, result, run, size, sizes};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("zoom_prompt");
const THREADS: usize = 256;
/// Images of a group, which a thread takes together.
const IMAGES: usize = 16;

/// Blocks that cover the pixels of a channel, a thread for each.
fn blocks(d: Dims) -> usize {
    (d.size * d.size).div_ceil(THREADS)
}

fn all_sizes(d: Dims) -> Result<[Arg; 3]> {
    // Threads count pixels of one image.
    size(OP, d.prompt().iter().product())?;
    sizes(OP, [d.b, d.s, d.size])
}

fn check_f32(inputs: [(&str, &Tensor); 2]) -> Result<()> {
    inputs.into_iter().try_for_each(|(name, tensor)| check_type(OP, name, tensor, DType::F32))
}

/// Writes y.
pub fn forward(
    launcher: &dyn Launcher,
    d: Dims,
    normalisation: Normalisation,
    [images, delta, scale]: [&Tensor; 3],
    y: &mut Tensor,
) -> Result<()> {
    check_f32([("images", images), ("delta", delta)])?;
    check_type(OP, "scale", scale, DType::F32)?;
    let mut args = vec![images.arg(), delta.arg(), scale.arg(), y.arg_mut()];
    args.extend(all_sizes(d)?);
    args.extend(normalisation.mean.map(Arg::F32));
    args.extend(normalisation.rates().map(Arg::F32));
    let grid = grid(OP, [blocks(d), d.b.div_ceil(IMAGES), CHANNELS], THREADS)?;
    run(launcher, entry!(FILE, "zoom_prompt_forward", y.dtype()), grid, &args)
}

/// Writes the gradient of delta, or adds to it.
pub fn grad_delta(
    launcher: &dyn Launcher,
    d: Dims,
    normalisation: Normalisation,
    [dy, delta, scale]: [&Tensor; 3],
    sink: &mut Sink,
) -> Result<()> {
    let add = sink.accumulate;
    let mut args = vec![dy.arg(), delta.arg(), scale.arg(), result(sink.tensor.region_mut(), add)];
    args.extend(all_sizes(d)?);
    args.extend(normalisation.rates().map(Arg::F32));
    args.push(Arg::U32(add.into()));
    let grid = grid(OP, [blocks(d), 1, CHANNELS], THREADS)?;
    run(launcher, entry!(FILE, "zoom_prompt_delta", dy.dtype()), grid, &args)
}

/// Writes the gradient of the scale, or adds to it: a partial sum for each block, and their sum.
pub fn grad_scale(
    device: &Device,
    d: Dims,
    normalisation: Normalisation,
    [dy, images, scale]: [&Tensor; 3],
    sink: &mut Sink,
) -> Result<()> {
    let mut partial = Tensor::empty(device, &[CHANNELS * blocks(d)]);
    let mut args = vec![dy.arg(), images.arg(), scale.arg(), partial.arg_mut()];
    args.extend(all_sizes(d)?);
    args.extend(normalisation.rates().map(Arg::F32));
    let grid = grid(OP, [blocks(d), 1, CHANNELS], THREADS)?;
    let launcher = device.launcher().expect("a launched device");
    run(launcher, entry!(FILE, "zoom_prompt_scale", dy.dtype()), grid, &args)?;
    sum(device, Rows::of(&partial, 1), sink.tensor.region_mut(), sink.accumulate)
}
