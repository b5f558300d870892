//! Matrix products on a launched device: row-major matrices as the column-major ones that BLAS takes.
//!
//! To BLAS, a row-major matrix is its own transpose, and `C^T = op(B)^T op(A)^T`. So the operands change places, and their
//! transpositions stay.

use crate::launch::{BlasGemm, ColumnMajor, DType, Launcher, Region};
use crate::{Result, Tensor};

/// A row-major matrix on a launched device whose rows start `ld` elements apart, read as it is or transposed.
#[derive(Debug, Clone, Copy)]
pub struct RowMajor {
    region: Region,
    dtype: DType,
    ld: usize,
    transposed: bool,
}

impl RowMajor {
    /// The matrix that starts `first` elements into a tensor.
    pub fn rows(tensor: &Tensor, first: usize, ld: usize) -> Self {
        let region = tensor.region().skip(first * tensor.dtype().size());
        RowMajor { region, dtype: tensor.dtype(), ld, transposed: false }
    }

    /// The transpose of [`RowMajor::rows`].
    pub fn transposed(tensor: &Tensor, first: usize, ld: usize) -> Self {
        RowMajor { transposed: true, ..Self::rows(tensor, first, ld) }
    }

    /// [`RowMajor::rows`] of a result. Panics when the storage is shared.
    pub fn result(tensor: &mut Tensor, first: usize, ld: usize) -> Self {
        tensor.region_mut();
        Self::rows(tensor, first, ld)
    }

    /// Checks that `rows` x `cols` elements are there.
    fn check(&self, rows: usize, cols: usize) {
        let (outer, inner) = if self.transposed { (cols, rows) } else { (rows, cols) };
        let end = (outer.max(1) - 1) * self.ld + inner;
        assert!(
            inner <= self.ld && end * self.dtype.size() <= self.region.bytes,
            "{self:?}: {rows} x {cols}"
        );
    }
    /// The operand that BLAS takes for this matrix.
    fn column_major(&self) -> ColumnMajor {
        ColumnMajor { region: self.region, ld: self.ld, transposed: self.transposed }
    }
}

/// Computes `c[m n] = a[m k] b[k n]`, plus what `c` held when `accumulate`. `a` and `b` must have the same type. Panics when
/// a matrix does not fit into its tensor.
///
/// # Errors
/// Those of [`Launcher`].
pub fn gemm(
    launcher: &dyn Launcher,
    [m, n, k]: [usize; 3],
    a: RowMajor,
    b: RowMajor,
    c: RowMajor,
    accumulate: bool,
) -> Result<()> {
    if m == 0 || n == 0 {
        return Ok(());
    }
    launcher.gemm(&column_major([m, n, k], a, b, c, accumulate))
}

/// Computes `c[m n] = a[m k] b[k n] + bias[n]`, where every row gets the same bias; `c` and `bias` are f32. Panics like
/// [`gemm()`].
///
/// # Errors
/// Those of [`Launcher`].
pub fn gemm_bias(
    launcher: &dyn Launcher,
    [m, n, k]: [usize; 3],
    a: RowMajor,
    b: RowMajor,
    c: RowMajor,
    bias: &Tensor,
) -> Result<()> {
    assert!(c.dtype == DType::F32 && bias.dtype() == DType::F32 && bias.numel() == n);
    if m == 0 || n == 0 {
        return Ok(());
    }
    let product = column_major([m, n, k], a, b, c, false);
    launcher.gemm(&BlasGemm { bias: Some(bias.region()), ..product })
}

/// The product as BLAS takes it.
fn column_major([m, n, k]: [usize; 3], a: RowMajor, b: RowMajor, c: RowMajor, accumulate: bool) -> BlasGemm {
    assert!(a.dtype == b.dtype && !c.transposed);
    a.check(m, k);
    b.check(k, n);
    c.check(m, n);
    BlasGemm {
        m: n,
        n: m,
        k,
        a: b.column_major(),
        b: a.column_major(),
        c: c.region,
        ldc: c.ld,
        input: a.dtype,
        output: c.dtype,
        beta: if accumulate { 1.0 } else { 0.0 },
        bias: None,
        tf32: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::gemm::{Mat, gemm};

    /// Computes what BLAS computes by definition, over one f32 memory.
    fn execute(memory: &mut [f32], g: &BlasGemm) {
        let at = |matrix: ColumnMajor, row: usize, col: usize| {
            let (row, col) = if matrix.transposed { (col, row) } else { (row, col) };
            matrix.region.at as usize / 4 + col * matrix.ld + row
        };
        let c = ColumnMajor { region: g.c, ld: g.ldc, transposed: false };
        for i in 0..g.m {
            for j in 0..g.n {
                let sum: f32 = (0..g.k).map(|p| memory[at(g.a, i, p)] * memory[at(g.b, p, j)]).sum();
                let to = at(c, i, j);
                memory[to] = sum + if g.beta == 0.0 { 0.0 } else { g.beta * memory[to] };
            }
        }
    }

    #[test]
    fn row_major_products_come_out_of_column_major_ones() {
        for [m, n, k] in [[1, 1, 1], [5, 7, 3], [1, 9, 4], [33, 17, 65]] {
            for (ta, tb, accumulate) in
                [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
            {
                let (lda, ldb, ldc) = (if ta { m } else { k } + 3, if tb { k } else { n } + 1, n + 2);
                let sizes = [lda * if ta { k } else { m }, ldb * if tb { n } else { k }, ldc * m];
                let mut rng = Rng::keyed(5, 0, 0, 0);
                let mut memory: Vec<f32> = (0..sizes.iter().sum()).map(|_| rng.normal() as f32).collect();
                let matrix = |i: usize, ld, transposed| {
                    let at = 4 * sizes[..i].iter().sum::<usize>() as u64;
                    RowMajor { region: Region { at, bytes: 4 * sizes[i] }, dtype: DType::F32, ld, transposed }
                };
                let mat = |data, ld, t| if t { Mat::transposed(data, ld) } else { Mat::rows(data, ld) };
                let (a, rest) = memory.split_at(sizes[0]);
                let (b, c) = rest.split_at(sizes[1]);
                let mut want = c.to_vec();
                gemm(m, n, k, mat(a, lda, ta), mat(b, ldb, tb), &mut want, ldc, accumulate);
                let c = matrix(2, ldc, false);
                let blas = column_major([m, n, k], matrix(0, lda, ta), matrix(1, ldb, tb), c, accumulate);
                execute(&mut memory, &blas);
                for (got, want) in memory[sizes[0] + sizes[1]..].iter().zip(&want) {
                    let error = (got - want).abs();
                    assert!(error <= 1e-5 * (k as f32), "{m} {n} {k} {ta} {tb}: {got} {want}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "3 x 5")]
    fn an_operand_beyond_its_memory_is_refused() {
        let region = Region { at: 0, bytes: 4 * 14 };
        RowMajor { region, dtype: DType::F32, ld: 5, transposed: false }.check(3, 5);
    }
}
