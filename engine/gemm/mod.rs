//! Matrix products on the CPU, row-major, with leading dimensions: `C = op(A) op(B)`, optionally plus a bias for every row,
//! optionally plus what C held.
//!
//! | A and B | C | by |
//! |---|---|---|
//! | f32 | f32 | the `gemm` crate |
//! | bf16 | f32 or bf16 | `vdpbf16ps` where the machine has it, else the f32 product of both widened |
//!
//! How the work is split over threads changes no sum, so results are the same for any number of threads, which a test
//! checks. Products of bf16 are summed in f32 along k, and bias and C are added to the sum, in this order, before what is
//! stored is rounded, once, to the nearest, ties to even.
//!
//! # Rounding of `vdpbf16ps`
//!
//! The instruction adds two products to a sum: that of the odd element along k, then that of the even one. A product of
//! two bf16 is exact in f32, and each addition is rounded to the nearest, so a sum differs from the exact one by at most
//! `k 2^-24 / (1 - k 2^-24)` times the sum of the absolute products, as a chain of FMA does, in another order. Unlike those
//! it takes denormal inputs as zero and gives zero for a denormal result, whatever the modes of the thread: each addition
//! may lose up to `2^-126`. The widened product keeps denormals. So does the rounding to bf16 there, where that of AVX-512
//! (`vcvtneps2bf16`) gives zero for a denormal.

mod bfloat;
mod float;
#[cfg(test)]
mod tests;

use half::bf16;

use crate::simd::Element;

/// An operand: a row-major matrix whose rows start `ld` elements apart, read as it is or transposed.
#[derive(Clone, Copy)]
pub struct Mat<'a, E = f32> {
    data: &'a [E],
    ld: usize,
    transposed: bool,
}

impl<'a, E> Mat<'a, E> {
    /// The matrix as it is; its rows start `ld` elements apart.
    pub fn rows(data: &'a [E], ld: usize) -> Self {
        Mat { data, ld, transposed: false }
    }

    /// The transpose of the matrix whose rows start `ld` elements apart.
    pub fn transposed(data: &'a [E], ld: usize) -> Self {
        Mat { data, ld, transposed: true }
    }

    /// Panics where `rows` x `cols` elements are not there.
    fn check(&self, rows: usize, cols: usize) {
        let (outer, inner) = if self.transposed { (cols, rows) } else { (rows, cols) };
        assert!(inner <= self.ld && (outer == 0 || (outer - 1) * self.ld + inner <= self.data.len()));
    }

    /// The distances between rows and between columns.
    fn strides(&self) -> (isize, isize) {
        if self.transposed { (1, self.ld as isize) } else { (self.ld as isize, 1) }
    }
}

/// What a product does beside multiplying.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Adds what C held.
    pub accumulate: bool,
    /// Adds this `[n]` to every row.
    pub bias: Option<&'a [f32]>,
    /// Runs on the calling thread alone, for products inside of a parallel loop.
    pub serial: bool,
}

/// An element of operands whose products are stored as `O`: f32 as f32, bf16 as f32 or bf16.
pub trait Multiply<O>: Copy + Send + Sync + Sized {
    /// Computes `c = a b` for `[m, n, k]`; the sizes were checked.
    #[doc(hidden)]
    fn product(size: [usize; 3], a: Mat<Self>, b: Mat<Self>, c: &mut [O], ldc: usize, options: Options);
}

impl Multiply<f32> for f32 {
    fn product(size: [usize; 3], a: Mat<f32>, b: Mat<f32>, c: &mut [f32], ldc: usize, options: Options) {
        float::product(size, a, b, c, ldc, options);
    }
}

impl<O: bfloat::Stored> Multiply<O> for bf16 {
    fn product(size: [usize; 3], a: Mat<bf16>, b: Mat<bf16>, c: &mut [O], ldc: usize, options: Options) {
        bfloat::product(size, a, b, c, ldc, options);
    }
}

/// A type of elements whose products are stored in the same type or in f32.
pub trait MatElement: Element + Multiply<Self> + Multiply<f32> {}

impl<E: Element + Multiply<Self> + Multiply<f32>> MatElement for E {}

/// Computes `c[m n] = a[m k] b[k n]` with [`Options`]; the rows of `c` start `ldc` elements apart.
///
/// Panics when an operand, `c` or the bias has fewer elements than its size needs.
pub fn multiply<E: Multiply<O>, O>(
    [m, n, k]: [usize; 3],
    a: Mat<E>,
    b: Mat<E>,
    c: &mut [O],
    ldc: usize,
    options: Options,
) {
    if m == 0 || n == 0 {
        return;
    }
    a.check(m, k);
    b.check(k, n);
    assert!(n <= ldc && (m - 1) * ldc + n <= c.len());
    assert!(options.bias.is_none_or(|bias| bias.len() >= n));
    E::product([m, n, k], a, b, c, ldc, options);
}

/// Computes `c[m n] = a[m k] b[k n]`, plus what `c` held when `accumulate`; the rows of `c` start `ldc` elements apart.
///
/// Panics when an operand has fewer elements than its size needs.
pub fn gemm<E: Multiply<O>, O>(
    m: usize,
    n: usize,
    k: usize,
    a: Mat<E>,
    b: Mat<E>,
    c: &mut [O],
    ldc: usize,
    accumulate: bool,
) {
    multiply([m, n, k], a, b, c, ldc, Options { accumulate, ..Options::default() });
}

/// [`gemm`] on the calling thread alone, for products inside of a parallel loop.
pub fn gemm_serial<E: Multiply<O>, O>(
    m: usize,
    n: usize,
    k: usize,
    a: Mat<E>,
    b: Mat<E>,
    c: &mut [O],
    ldc: usize,
    accumulate: bool,
) {
    multiply([m, n, k], a, b, c, ldc, Options { accumulate, serial: true, bias: None });
}
