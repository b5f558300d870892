//! Linear on a launched device: the GEMM of its library. The product itself adds the bias to an f32 result that it writes; a
//! kernel adds it to a bf16 one, and to what a product was added to. A weight of another type than x is cast.

use engine::blas::{RowMajor, gemm, gemm_bias};
use engine::launch::{Launcher, PtxFile};
use engine::{DType, Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{each, entry, grid, ptx_file, run, sizes, wide};

static FILE: PtxFile = ptx_file!("linear");
const THREADS: usize = 256;

/// Writes `y [rows n]`.
pub fn forward(
    launcher: &dyn Launcher,
    d: Dims,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    y: &mut Tensor,
) -> Result<()> {
    let size = [d.rows, d.n, d.k];
    let (x, w) = (RowMajor::rows(x, d.first, d.width), RowMajor::transposed(w, 0, d.k));
    match bias {
        Some(bias) if y.dtype() == DType::F32 => {
            gemm_bias(launcher, size, x, w, RowMajor::result(y, 0, d.n), bias)
        }
        Some(bias) => {
            gemm(launcher, size, x, w, RowMajor::result(y, 0, d.n), false)?;
            add_bias(launcher, d, bias, y)
        }
        None => gemm(launcher, size, x, w, RowMajor::result(y, 0, d.n), false),
    }
}

/// Adds `x w^T + bias` to `y [rows n]`.
pub fn add(
    launcher: &dyn Launcher,
    d: Dims,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    y: &mut Tensor,
) -> Result<()> {
    let (x, w) = (RowMajor::rows(x, 0, d.width), RowMajor::transposed(w, 0, d.k));
    gemm(launcher, [d.rows, d.n, d.k], x, w, RowMajor::result(y, 0, d.n), true)?;
    bias.map_or(Ok(()), |bias| add_bias(launcher, d, bias, y))
}

/// Adds the bias to a result.
fn add_bias(launcher: &dyn Launcher, d: Dims, bias: &Tensor, y: &mut Tensor) -> Result<()> {
    let elements = y.numel();
    let [count, columns] = sizes(OP, [elements, d.n])?;
    let args = [y.arg_inout(), bias.arg(), count, columns];
    let blocks = elements.div_ceil(THREADS * each(d.n, wide(y.dtype())));
    run(launcher, entry!(FILE, "linear_bias", y.dtype()), grid(OP, [blocks, 1, 1], THREADS)?, &args)
}

/// Writes the window's columns of `dx [rows width]`, or adds to them.
pub fn grad_x(
    launcher: &dyn Launcher,
    d: Dims,
    dy: &Tensor,
    w: &Tensor,
    dx: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let (dy, w) = (RowMajor::rows(dy, 0, d.n), RowMajor::rows(w, 0, d.k));
    gemm(launcher, [d.rows, d.k, d.n], dy, w, RowMajor::result(dx, d.first, d.width), accumulate)
}

/// Writes `dw [n k]`, or adds to it.
pub fn grad_w(
    launcher: &dyn Launcher,
    d: Dims,
    dy: &Tensor,
    x: &Tensor,
    dw: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let (dy, x) = (RowMajor::transposed(dy, 0, d.n), RowMajor::rows(x, d.first, d.width));
    gemm(launcher, [d.n, d.k, d.rows], dy, x, RowMajor::result(dw, 0, d.k), accumulate)
}
