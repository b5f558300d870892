//! Batch normalization on a launched device.

use engine::launch::{Kernel, Launcher, PtxFile};
use engine::{Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{grid, optional, optional_mut, ptx_file, result, run, sizes};

static FILE: PtxFile = ptx_file!("batch_norm");
const THREADS: usize = 128;

/// Writes y and `1 / sqrt(v + eps)`, and the batch's moments where they are its own.
pub fn forward(
    launcher: &dyn Launcher,
    dims: Dims,
    x: &Tensor,
    given: Option<[&Tensor; 2]>,
    own: Option<&mut [Tensor; 2]>,
    y: &mut Tensor,
    inverse: &mut Tensor,
) -> Result<()> {
    let Dims { b, d } = dims;
    let [mean, variance] = given.map_or([None, None], |given| given.map(Some));
    let [own_mean, own_variance] = own.map_or([None, None], |own| own.each_mut().map(Some));
    let mut args = vec![
        x.arg(),
        optional(mean),
        optional(variance),
        optional_mut(own_mean),
        optional_mut(own_variance),
        y.arg_mut(),
        inverse.arg_mut(),
    ];
    // All elements are counted in 31 bits.
    args.extend(&sizes(OP, [b, d, b * d])?[..2]);
    let kernel = Kernel { file: &FILE, entry: "batch_norm_forward" };
    run(launcher, kernel, grid(OP, [d.div_ceil(THREADS), 1, 1], THREADS)?, &args)
}

/// Writes dx, or adds to it.
pub fn backward(
    launcher: &dyn Launcher,
    dims: Dims,
    dy: &Tensor,
    y: Option<&Tensor>,
    inverse: &Tensor,
    dx: &mut Tensor,
    add: bool,
) -> Result<()> {
    let Dims { b, d } = dims;
    let mut args = vec![dy.arg(), optional(y), inverse.arg(), result(dx.region_mut(), add)];
    args.extend(sizes(OP, [b, d, usize::from(add)])?);
    let kernel = Kernel { file: &FILE, entry: "batch_norm_backward" };
    run(launcher, kernel, grid(OP, [d.div_ceil(THREADS), 1, 1], THREADS)?, &args)
}
