//! Quantised weights on a launched device: one block takes them all.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{Result, Tensor};

use super::call::{Levels, OP};
use crate::launch::{grid, ptx_file, result, run, sizes};

static FILE: PtxFile = ptx_file!("quantise");
const THREADS: usize = 1024;

/// Threshold and levels; a threshold below 0 says that values stay what they are.
fn levels_args(levels: Option<Levels>) -> [Arg; 3] {
    let [threshold, inner, outer] =
        levels.map_or([-1.0, 0.0, 0.0], |levels| [levels.threshold, levels.inner, levels.outer]);
    [threshold, inner, outer].map(|value| Arg::F32(value as f32))
}

fn launch(launcher: &dyn Launcher, entry: &'static str, args: &[Arg]) -> Result<()> {
    run(launcher, Kernel { file: &FILE, entry }, grid(OP, [1, 1, 1], THREADS)?, args)
}

/// Writes y, and the mean and deviation of w to `moments [2]`.
pub fn forward(
    launcher: &dyn Launcher,
    levels: Option<Levels>,
    w: &Tensor,
    y: &mut Tensor,
    moments: &mut Tensor,
) -> Result<()> {
    let mut args = vec![w.arg(), y.arg_mut(), moments.arg_mut()];
    args.extend(sizes(OP, [w.numel()])?);
    args.extend(levels_args(levels));
    launch(launcher, "quantise_forward", &args)
}

/// Writes dw, or adds to it, from w, dy and the moments.
pub fn backward(
    launcher: &dyn Launcher,
    levels: Option<Levels>,
    inputs: [&Tensor; 3],
    dw: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let mut args: Vec<Arg> = inputs.iter().map(|input| input.arg()).collect();
    args.push(result(dw.region_mut(), accumulate));
    args.extend(sizes(OP, [dw.numel(), usize::from(accumulate)])?);
    args.extend(levels_args(levels));
    launch(launcher, "quantise_backward", &args)
}
