//! Products of f32, by the `gemm` crate.

use gemm::Parallelism;
use rayon::prelude::*;

use super::{Mat, Options};

/// Products below which a second thread costs more than it saves.
const ALONE: usize = 1 << 16;

/// Rows that a thread gives the bias at a time.
const BIASED: usize = 64;

/// Computes `c = a b`; the sizes were checked.
pub fn product([m, n, k]: [usize; 3], a: Mat<f32>, b: Mat<f32>, c: &mut [f32], ldc: usize, options: Options) {
    if let Some(bias) = options.bias {
        let rows = |c: &mut [f32]| {
            for row in c.chunks_mut(ldc) {
                for (c, bias) in row[..n].iter_mut().zip(bias) {
                    *c = if options.accumulate { *c + bias } else { *bias };
                }
            }
        };
        // The last row may end behind its last column.
        let c = &mut c[..(m - 1) * ldc + n];
        match options.serial {
            true => rows(c),
            false => c.par_chunks_mut(BIASED * ldc).for_each(rows),
        }
    }
    let accumulate = options.accumulate || options.bias.is_some();
    let alone = options.serial || m * n * k <= ALONE;
    let ((ars, acs), (brs, bcs)) = (a.strides(), b.strides());
    // SAFETY: the caller has checked that every access of the m x n x k product is inside its slice.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            ldc as isize,
            accumulate,
            a.data.as_ptr(),
            acs,
            ars,
            b.data.as_ptr(),
            bcs,
            brs,
            1.0,
            1.0,
            false,
            false,
            false,
            if alone { Parallelism::None } else { Parallelism::Rayon(0) },
        )
    }
}
