//! The most salient rows on a launched device.

use engine::launch::{Kernel, Launcher, PtxFile};
use engine::{DType, Device, Error, Result, Tensor};

use super::call::{Call, OP};
use crate::launch::{check_type, grid, ptx_file, run, sizes};

static FILE: PtxFile = ptx_file!("salient");
/// Threads of the block that takes an image.
const THREADS: usize = 256;
/// Rows that fit into a block's shared memory.
const MOST_ROWS: usize = 8192;

/// Writes the numbers of the rows to y.
pub fn salient(
    device: &Device,
    launcher: &dyn Launcher,
    call: &Call,
    p: &Tensor,
    y: &mut Tensor,
) -> Result<()> {
    let &Call { b, heads, keys, extra, rows, k } = call;
    check_type(OP, "p", p, DType::F32)?;
    if rows.len() > MOST_ROWS {
        let what = format!("{} rows: at most {MOST_ROWS} on a launched device", rows.len());
        return Err(Error::Unsupported { op: OP, what });
    }
    let numbers: Vec<f32> = rows.iter().map(|&row| row as f32).collect();
    let numbers = Tensor::from_slice(device, &numbers, &[rows.len()]);
    let mut args = vec![p.arg(), numbers.arg(), y.arg_mut()];
    args.extend(sizes(OP, [heads, keys, extra, rows.len(), k])?);
    sizes(OP, [heads * keys])?;
    let kernel = Kernel { file: &FILE, entry: "salient_rows" };
    run(launcher, kernel, grid(OP, [b, 1, 1], THREADS)?, &args)
}
