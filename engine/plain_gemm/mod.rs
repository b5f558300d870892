//! Matrix products by a kernel of our own, for those that a GPU's library has no algorithm for: any size, type,
//! transposition and distance between columns. It is slow next to a library, and its bits are not the library's.

use crate::launch::{Arg, BlasGemm, DType, Grid, Kernel, Launcher, PtxFile};
use crate::{Error, Result};

static FILE: PtxFile = PtxFile { name: "plain_gemm/kernel.ptx", text: include_str!("kernel.ptx") };

/// The rows and the columns of C that a block computes.
const TILE: usize = 64;

/// Computes a product, with sums in f32 in the order of `k`, never in TF32.
///
/// # Errors
/// [`Error::Unsupported`] for a result in bf16 of f32 operands and for sizes beyond 32 bits, and those of [`Launcher`].
pub fn plain_gemm(launcher: &dyn Launcher, g: &BlasGemm) -> Result<()> {
    let entry = match (g.input, g.output) {
        (DType::F32, DType::F32) => "plain_gemm_f32_f32",
        (DType::Bf16, DType::F32) => "plain_gemm_bf16_f32",
        (DType::Bf16, DType::Bf16) => "plain_gemm_bf16_bf16",
        (DType::F32, DType::Bf16) => return Err(unsupported("a bf16 result of f32 operands")),
    };
    let [m, n, k] = [g.m, g.n, g.k];
    // The distances between neighbours in a column and in a row of op(A) and of op(B).
    let distances = |ld, transposed| if transposed { [ld, 1] } else { [1, ld] };
    let ([a_i, a_p], [b_p, b_j]) = (distances(g.a.ld, g.a.transposed), distances(g.b.ld, g.b.transposed));
    let mut args = vec![
        Arg::In(g.a.region),
        Arg::In(g.b.region),
        if g.beta == 0.0 { Arg::Out(g.c) } else { Arg::InOut(g.c) },
        g.bias.map_or(Arg::None, Arg::In),
    ];
    let number = |value| u32::try_from(value).map_err(|_| unsupported(format!("the size {value}")));
    for value in [m, n, k, a_i, a_p, b_p, b_j, g.ldc, usize::from(g.beta != 0.0)] {
        args.push(Arg::U32(number(value)?));
    }
    let blocks = number(m.div_ceil(TILE) * n.div_ceil(TILE))?;
    let grid = Grid { blocks: [blocks, 1, 1], threads: [256, 1, 1], shared: 0 };
    launcher.launch(Kernel { file: &FILE, entry }, grid, &args)
}

fn unsupported(what: impl Into<String>) -> Error {
    Error::Unsupported { op: "plain_gemm", what: what.into() }
}
