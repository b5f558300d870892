//! Matrix products on the CPU, row-major, with leading dimensions: `C = op(A) op(B)` or `C += op(A) op(B)`.
//!
//! The `gemm` crate does the work. How it splits the work over threads changes no sum, so results are the same for any
//! number of threads, which a test checks.

use std::borrow::Cow;

use gemm::Parallelism;
use rayon::prelude::*;

use crate::simd::Element;

/// An operand: a row-major matrix whose rows start `ld` elements apart, read as it is or transposed.
#[derive(Clone, Copy)]
pub struct Mat<'a, E = f32> {
    data: &'a [E],
    ld: usize,
    transposed: bool,
}

impl<'a, E: Element> Mat<'a, E> {
    /// The matrix as it is; its rows start `ld` elements apart.
    pub fn rows(data: &'a [E], ld: usize) -> Self {
        Mat { data, ld, transposed: false }
    }

    /// The transpose of the matrix whose rows start `ld` elements apart.
    pub fn transposed(data: &'a [E], ld: usize) -> Self {
        Mat { data, ld, transposed: true }
    }

    /// The distances between rows and between columns, after a check that `rows` x `cols` elements are there.
    fn strides(&self, rows: usize, cols: usize) -> (isize, isize) {
        let (outer, inner) = if self.transposed { (cols, rows) } else { (rows, cols) };
        assert!(inner <= self.ld && outer > 0 && (outer - 1) * self.ld + inner <= self.data.len());
        if self.transposed { (1, self.ld as isize) } else { (self.ld as isize, 1) }
    }
}

/// Computes `c[m n] = a[m k] b[k n]`, plus what `c` held when `accumulate`; the rows of `c` start `ldc` elements apart. Sums
/// are in f32, and a result in bf16 is rounded once.
///
/// Panics when an operand has fewer elements than its size needs.
#[allow(clippy::too_many_arguments)]
pub fn gemm<E: Element, O: Element>(
    m: usize,
    n: usize,
    k: usize,
    a: Mat<E>,
    b: Mat<E>,
    c: &mut [O],
    ldc: usize,
    accumulate: bool,
) {
    gemm_bias([m, n, k], a, b, None, c, ldc, accumulate);
}

/// [`gemm`] with a bias `[n]` that is added to every row.
pub fn gemm_bias<E: Element, O: Element>(
    [m, n, k]: [usize; 3],
    a: Mat<E>,
    b: Mat<E>,
    bias: Option<&[f32]>,
    c: &mut [O],
    ldc: usize,
    accumulate: bool,
) {
    // Below this a second thread costs more than it saves.
    let parallelism = if m * n * k > 1 << 16 { Parallelism::Rayon(0) } else { Parallelism::None };
    product([m, n, k], a, b, bias, c, ldc, accumulate, parallelism);
}

/// [`gemm`] on the calling thread alone, for products inside of a parallel loop.
#[allow(clippy::too_many_arguments)]
pub fn gemm_serial<E: Element, O: Element>(
    m: usize,
    n: usize,
    k: usize,
    a: Mat<E>,
    b: Mat<E>,
    c: &mut [O],
    ldc: usize,
    accumulate: bool,
) {
    product([m, n, k], a, b, None, c, ldc, accumulate, Parallelism::None);
}

#[allow(clippy::too_many_arguments)]
fn product<E: Element, O: Element>(
    [m, n, k]: [usize; 3],
    a: Mat<E>,
    b: Mat<E>,
    bias: Option<&[f32]>,
    c: &mut [O],
    ldc: usize,
    accumulate: bool,
    parallelism: Parallelism,
) {
    if m == 0 || n == 0 {
        return;
    }
    let (ars, acs) = a.strides(m, k);
    let (brs, bcs) = b.strides(k, n);
    assert!(n <= ldc && (m - 1) * ldc + n <= c.len());
    if let Some(bias) = bias {
        for row in c.chunks_mut(ldc).take(m) {
            for (c, bias) in row[..n].iter_mut().zip(&bias[..n]) {
                *c = O::from_f32(if accumulate { c.to_f32() + bias } else { *bias });
            }
        }
    }
    let accumulate = accumulate || bias.is_some();
    let (a, b) = (widened(a.data), widened(b.data));
    let mut wide = widened(c).into_owned();
    // SAFETY: the asserts above and in `strides` keep every access of the m x n x k product inside its slice.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            wide.as_mut_ptr(),
            1,
            ldc as isize,
            accumulate,
            a.as_ptr(),
            acs,
            ars,
            b.as_ptr(),
            bcs,
            brs,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        )
    }
    for (row, wide) in c.chunks_mut(ldc).zip(wide.chunks(ldc)).take(m) {
        row[..n].iter_mut().zip(wide).for_each(|(c, wide)| *c = O::from_f32(*wide));
    }
}

fn widened<E: Element>(data: &[E]) -> Cow<'_, [f32]> {
    Cow::Owned(data.par_iter().map(|v| v.to_f32()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn random(n: usize, op: u32) -> Vec<f32> {
        let mut rng = Rng::keyed(3, 0, 0, op);
        (0..n).map(|_| rng.normal() as f32).collect()
    }

    #[test]
    fn every_layout_matches_plain_loops() {
        for (m, n, k) in [(1, 1, 1), (5, 7, 3), (33, 17, 65), (197, 56, 24)] {
            let (lda, ldb, ldc) = (m.max(k) + 3, n.max(k) + 1, n + 2);
            let (a, b) = (random(lda * m.max(k), 0), random(ldb * n.max(k), 1));
            for (ta, tb, acc) in
                [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
            {
                let mut c = random(ldc * m, 2);
                let before = c.clone();
                let mat = |d, ld, t| if t { Mat::transposed(d, ld) } else { Mat::rows(d, ld) };
                gemm(m, n, k, mat(&a, lda, ta), mat(&b, ldb, tb), &mut c, ldc, acc);
                for i in 0..m {
                    for j in 0..n {
                        let at = |p| f64::from(if ta { a[p * lda + i] } else { a[i * lda + p] });
                        let bt = |p| f64::from(if tb { b[j * ldb + p] } else { b[p * ldb + j] });
                        let mut want: f64 = (0..k).map(|p| at(p) * bt(p)).sum();
                        want += if acc { f64::from(before[i * ldc + j]) } else { 0.0 };
                        let err = (f64::from(c[i * ldc + j]) - want).abs();
                        assert!(err <= 1e-6 * (k as f64) + 1e-6, "{m} {n} {k}: {err}");
                    }
                    assert_eq!(c[i * ldc + n], before[i * ldc + n], "column beyond n written");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for (m, n, k) in [(1576, 1536, 384), (197, 384, 768), (384, 64, 1576), (65, 512, 128)] {
            let (a, b) = (random(m * k, 0), random(k * n, 1));
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut c = vec![0.0; m * n];
                pool.install(|| gemm(m, n, k, Mat::rows(&a, k), Mat::rows(&b, n), &mut c, n, false));
                c
            };
            let one = run(1);
            let mut serial = vec![0.0; m * n];
            gemm_serial(m, n, k, Mat::rows(&a, k), Mat::rows(&b, n), &mut serial, n, false);
            assert!(serial == one, "{m} {n} {k} on the calling thread");
            for threads in [2, 3, 7] {
                assert!(run(threads) == one, "{m} {n} {k} with {threads} threads");
            }
        }
    }
}
