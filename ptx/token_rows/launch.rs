//! Token rows on a launched device.

use engine::launch::{Arg, Kernel, Launcher, PtxFile};
use engine::{DType, Result, Tensor};

use super::call::{OP, Run};
use crate::launch::{each, entry, grid, optional, ptx_file, run, sizes, wide};

static FILE: PtxFile = ptx_file!("token_rows");
const THREADS: usize = 256;

/// Writes the rows of one or two runs to `to`, zeros elsewhere.
pub fn place(launcher: &dyn Launcher, runs: &[Run], from: &[Tensor], to: &mut Tensor) -> Result<()> {
    let (first, dtype) = (runs[0], to.dtype());
    let mut args = vec![from[0].arg(), optional(from.get(1)), to.arg_mut()];
    args.extend(sizes(OP, [first.to.l, first.d])?);
    args.extend(run_sizes(first)?);
    args.extend(runs.get(1).map_or(Ok([Arg::U32(0); 4]), |&second| run_sizes(second))?);
    let samples = to.numel() / (first.to.l * first.d).max(1);
    let kernel = entry!(FILE, "token_rows_place", dtype);
    flat(launcher, kernel, dtype, first.to.l, first.d, samples, &args)
}

/// Adds a run of rows of every sample of `from` to its rows of `to`.
pub fn add(launcher: &dyn Launcher, from_run: Run, from: &Tensor, to: &mut Tensor) -> Result<()> {
    let Run { d, count, to: target, .. } = from_run;
    let (dtype, samples) = (to.dtype(), to.numel() / (target.l * d).max(1));
    let mut args = vec![from.arg(), to.arg_inout()];
    args.extend(sizes(OP, [target.l, d])?);
    args.extend(run_sizes(from_run)?);
    flat(launcher, entry!(FILE, "token_rows_add", dtype), dtype, count, d, samples, &args)
}

/// Launches over `rows` rows of every sample.
fn flat(
    launcher: &dyn Launcher,
    kernel: Kernel,
    dtype: DType,
    rows: usize,
    d: usize,
    samples: usize,
    args: &[Arg],
) -> Result<()> {
    let blocks = (rows * d).div_ceil(THREADS * each(d, wide(dtype)));
    run(launcher, kernel, grid(OP, [blocks, samples, 1], THREADS)?, args)
}

/// The arguments that describe one run.
fn run_sizes(run: Run) -> Result<[Arg; 4]> {
    sizes(OP, [run.count, run.from.first, run.from.l, run.to.first])
}
