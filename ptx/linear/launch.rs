//! Linear on a launched device: its GEMM, the bias added by a kernel. A weight of another type than x is cast.

use engine::blas::{Place, gemm};
use engine::launch::{Launcher, PtxFile};
use engine::{Result, Tensor};

use super::Dims;
use crate::launch::{each, entry, grid, ptx_file, run, sizes, wide};

static FILE: PtxFile = ptx_file!("linear");
const THREADS: usize = 256;

pub fn forward(
    launcher: &dyn Launcher,
    d: Dims,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    y: &mut Tensor,
) -> Result<()> {
    let w = w.cast(x.dtype())?;
    let (x, w) = (Place::rows(x, d.first, d.width), Place::transposed(&w, 0, d.k));
    gemm(launcher, [d.rows, d.n, d.k], x, w, Place::result(y, 0, d.n), false)?;
    let Some(bias) = bias else { return Ok(()) };
    let (dtype, elements) = (y.dtype(), y.numel());
    let [count, columns] = sizes("linear", [elements, d.n])?;
    let args = [y.arg_inout(), bias.arg(), count, columns];
    let blocks = elements.div_ceil(THREADS * each(d.n, wide(dtype)));
    run(launcher, entry!(FILE, "linear_bias", dtype), grid("linear", [blocks, 1, 1], THREADS)?, &args)
}

pub fn grad_x(
    launcher: &dyn Launcher,
    d: Dims,
    dy: &Tensor,
    w: &Tensor,
    dx: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let w = w.cast(dy.dtype())?;
    let (dy, w) = (Place::rows(dy, 0, d.n), Place::rows(&w, 0, d.k));
    gemm(launcher, [d.rows, d.k, d.n], dy, w, Place::result(dx, d.first, d.width), accumulate)
}

pub fn grad_w(
    launcher: &dyn Launcher,
    d: Dims,
    dy: &Tensor,
    x: &Tensor,
    dw: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let (dy, x) = (Place::transposed(dy, 0, d.n), Place::rows(x, d.first, d.width));
    gemm(launcher, [d.n, d.k, d.rows], dy, x, Place::result(dw, 0, d.k), accumulate)
}
