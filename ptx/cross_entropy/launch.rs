//! Cross-entropy on a launched device, in f32.

use engine::launch::{Grid, Kernel, Launcher, PtxFile};
use engine::{Device, Result, Tensor};

use super::call::OP;
use crate::launch::{entry, grid, ptx_file, run, sizes};

static FILE: PtxFile = ptx_file!("cross_entropy");
const WARP: usize = 32;
/// Rows of a block; each has a warp.
const ROWS: usize = 4;

/// The mean loss `[1]`.
pub fn forward(
    device: &Device,
    launcher: &dyn Launcher,
    k: usize,
    x: &Tensor,
    targets: &Tensor,
) -> Result<Tensor> {
    let b = x.numel() / k;
    let (mut losses, mut loss) = (Tensor::empty(device, &[b]), Tensor::empty(device, &[1]));
    let [rows, classes] = sizes(OP, [b, k])?;
    let args = [x.arg(), targets.arg(), losses.arg_mut(), rows, classes];
    run(launcher, entry!(FILE, "cross_entropy_rows", x.dtype()), row_grid(b)?, &args)?;
    let mean = Kernel { file: &FILE, entry: "cross_entropy_mean" };
    run(launcher, mean, grid(OP, [1, 1, 1], WARP)?, &[losses.arg(), loss.arg_mut(), rows])?;
    Ok(loss)
}

/// Writes dx.
pub fn backward(
    launcher: &dyn Launcher,
    k: usize,
    x: &Tensor,
    targets: &Tensor,
    dloss: &Tensor,
    dx: &mut Tensor,
) -> Result<()> {
    let b = x.numel() / k;
    let [rows, classes] = sizes(OP, [b, k])?;
    let args = [x.arg(), targets.arg(), dloss.arg(), dx.arg_mut(), rows, classes];
    run(launcher, entry!(FILE, "cross_entropy_backward", x.dtype()), row_grid(b)?, &args)
}

fn row_grid(b: usize) -> Result<Grid> {
    grid(OP, [b.div_ceil(ROWS), 1, 1], ROWS * WARP)
}
