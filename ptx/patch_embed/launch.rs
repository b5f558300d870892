//! Patch embedding on a launched device: patches are gathered as rows, the GEMM of the library multiplies them in f32,
//! and the product is assembled to tokens.

use engine::blas::{RowMajor, gemm};
use engine::launch::{Launcher, PtxFile, Region};
use engine::{Device, Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{each, entry, grid, ptx_file, result, run, sizes};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("patch_embed");
/// Threads of a block of `gather`, which takes one row, and of the other kernels.
const ROW_THREADS: usize = 128;
const THREADS: usize = 256;
/// Values of a thread of `assemble` where d allows.
const EACH: usize = 4;

impl Dims {
    /// Tokens of all images.
    fn rows(&self) -> usize {
        self.b * self.tokens()
    }
}

/// The patches of all images as rows `[b tokens k]`; those of the class tokens are zero.
pub fn gather(device: &Device, launcher: &dyn Launcher, d: Dims, images: &Tensor) -> Result<Tensor> {
    let mut columns = Tensor::empty_typed(device, images.dtype(), &d.columns());
    let mut args = vec![images.arg(), columns.arg_mut()];
    args.extend(sizes(OP, [d.c, d.size, d.patch, d.stride, d.grid, d.class_row])?);
    let kernel = entry!(FILE, "patch_embed_gather", images.dtype());
    run(launcher, kernel, grid(OP, [d.rows(), 1, 1], ROW_THREADS)?, &args)?;
    Ok(columns)
}

/// `y [b tokens d]` in the type of the images.
pub fn forward(
    device: &Device,
    launcher: &dyn Launcher,
    d: Dims,
    images: &Tensor,
    [w, bias, cls, pos]: [&Tensor; 4],
) -> Result<Tensor> {
    let (columns, w) = (gather(device, launcher, d, images)?, w.cast(device, images.dtype())?);
    let mut product = Tensor::empty(device, &[d.rows(), d.d]);
    let (a, b) = (RowMajor::rows(&columns, 0, d.k()), RowMajor::transposed(&w, 0, d.k()));
    gemm(launcher, [d.rows(), d.d, d.k()], a, b, RowMajor::result(&mut product, 0, d.d), false)?;
    let mut y = Tensor::empty_typed(device, images.dtype(), &[d.b, d.tokens(), d.d]);
    let elements = y.numel();
    let mut args = vec![product.arg(), bias.arg(), cls.arg(), pos.arg(), y.arg_mut()];
    args.extend(sizes(OP, [elements, d.tokens(), d.class_row, d.d])?);
    let blocks = elements.div_ceil(THREADS * each(d.d, EACH));
    let kernel = entry!(FILE, "patch_embed_assemble", images.dtype());
    run(launcher, kernel, grid(OP, [blocks, 1, 1], THREADS)?, &args)?;
    Ok(y)
}

/// Writes the gradient of the images, or adds to it.
pub fn grad_images(
    device: &Device,
    launcher: &dyn Launcher,
    d: Dims,
    dy: &Tensor,
    w: &Tensor,
    (to, accumulate): (&mut Tensor, bool),
) -> Result<()> {
    let (mut columns, w) = (Tensor::empty(device, &d.columns()), w.cast(device, dy.dtype())?);
    let (a, b) = (RowMajor::rows(dy, 0, d.d), RowMajor::rows(&w, 0, d.k()));
    gemm(launcher, [d.rows(), d.k(), d.d], a, b, RowMajor::result(&mut columns, 0, d.k()), false)?;
    let pixels = to.numel();
    let mut args = vec![columns.arg(), result(to.region_mut(), accumulate)];
    args.extend(sizes(
        OP,
        [pixels, d.c, d.size, d.patch, d.stride, d.grid, d.class_row, usize::from(accumulate)],
    )?);
    let kernel = entry!(FILE, "patch_embed_scatter", to.dtype());
    run(launcher, kernel, grid(OP, [pixels.div_ceil(THREADS), 1, 1], THREADS)?, &args)
}

/// Writes `dw [d k]`, or adds to it.
pub fn grad_weight(
    launcher: &dyn Launcher,
    d: Dims,
    dy: &Tensor,
    columns: &Tensor,
    (dw, accumulate): (&mut Tensor, bool),
) -> Result<()> {
    let (a, b) = (RowMajor::transposed(dy, 0, d.d), RowMajor::rows(columns, 0, d.k()));
    gemm(launcher, [d.d, d.k(), d.rows()], a, b, RowMajor::result(dw, 0, d.k()), accumulate)
}

/// Writes the gradient of the bias `[d]`, or adds to it: all tokens of all images but the class tokens.
pub fn grad_bias(device: &Device, d: Dims, dy: &Tensor, to: Region, accumulate: bool) -> Result<()> {
    let mut images = Tensor::empty(device, &[d.tokens(), d.d]);
    sum_samples(device, d, dy, 0, images.region_mut(), (d.tokens(), false))?;
    let part = |first: usize, rows| Rows { first: first * d.d, rows, ..Rows::of(&images, d.d) };
    sum(device, part(0, d.class_row), to, accumulate)?;
    sum(device, part(d.class_row + 1, d.tokens() - d.class_row - 1), to, true)
}

/// Writes the sum over the images of `count` tokens from row `first` on, or adds it.
pub fn sum_samples(
    device: &Device,
    d: Dims,
    dy: &Tensor,
    first: usize,
    to: Region,
    (count, accumulate): (usize, bool),
) -> Result<()> {
    let (stride, first) = (d.tokens() * d.d, first * d.d);
    sum(device, Rows { tensor: dy, first, rows: d.b, width: count * d.d, stride }, to, accumulate)
}
